#include "kernels/cpu/matmul/layout.h"

#include <cstdint>
#include <cstring>

#include "common/gguf/half.h"

namespace softsplice {
namespace {

constexpr int kHalf = kBlock / 2;

// Where things of one output go: each writer puts its own and moves on by the panel's.
class Writer {
 public:
  Writer(char* dst, int panel, int o) : dst_(dst), panel_(panel), o_(o) {}

  void Half(float value) { Put(FloatToHalf(value)); }
  void Float(float value) { Put(value); }
  void Byte(uint8_t value) { Put(value); }

  void Bytes(const uint8_t* code) {
    for (int k = 0; k < kBlock; k += 4) Put(Four(code + k));
  }
  void Nibbles(const uint8_t* code) {
    for (int k = 0; k < kHalf; k += 4) {
      Put((Four(code + k) & 0x0f0f0f0f) | (Four(code + k + kHalf) & 0x0f0f0f0f) << 4);
    }
  }
  void HighPairs(const uint8_t* code) {
    for (int k = 0; k < kBlock; k += kHalf) {
      uint32_t four = 0;
      for (int i = 0; i < 4; ++i) four |= (Four(code + k + 4 * i) >> 4 & 0x03030303) << 2 * i;
      Put(four);
    }
  }

 private:
  static uint32_t Four(const uint8_t* code) {
    uint32_t four;
    std::memcpy(&four, code, sizeof four);
    return four;
  }

  // [vector][lane] is simply [panel].
  template <class T>
  void Put(T value) {
    std::memcpy(dst_ + static_cast<size_t>(o_) * sizeof value, &value, sizeof value);
    dst_ += static_cast<size_t>(panel_) * sizeof value;
  }

  char* dst_;
  int panel_;
  int o_;
};

}  // namespace

int UnitInputs(Layout layout) {
  if (layout <= Layout::kBF16) return 1;
  return layout == Layout::kNibbleSuper || layout == Layout::kSix ? kSuperBlock : kBlock;
}

UnitBytes BytesOf(Layout layout, int panel) {
  const size_t outs = static_cast<size_t>(panel);
  switch (layout) {
    case Layout::kF32:
      return {0, 4 * outs};
    case Layout::kF16:
    case Layout::kBF16:
      return {0, 2 * outs};
    case Layout::kNibbleCentred:
      return {0, (2 + kHalf) * outs};
    case Layout::kNibbleMin:
      return {0, (4 + kHalf) * outs};
    case Layout::kNibbleSuper:
      return {4 * outs, (2 + kHalf) * outs};
    case Layout::kSix:
      return {2 * outs, (2 + kHalf + kBlock / 4) * outs};
    case Layout::kByteMin:
      return {0, (8 + kBlock) * outs};
    case Layout::kByteMinHalves:
      return {0, (16 + kBlock) * outs};
    case Layout::kSignedHalf:
      return {0, (2 + kBlock) * outs};
    case Layout::kSignedFloat:
      return {0, (4 + kBlock) * outs};
    case Layout::kCount:
      break;
  }
  return {};
}

void StoreCodes(Layout layout, char* unit, int block, int panel, int o, const Codes& codes) {
  const UnitBytes bytes = BytesOf(layout, panel);
  Writer header(unit, panel, o);
  Writer body(unit + bytes.header + static_cast<size_t>(block) * bytes.block, panel, o);
  switch (layout) {
    case Layout::kNibbleCentred:
      body.Half(codes.scale[0]);
      return body.Nibbles(codes.code);
    case Layout::kNibbleMin:
      body.Half(codes.scale[0]);
      body.Half(codes.min[0]);
      return body.Nibbles(codes.code);
    case Layout::kNibbleSuper:
      header.Half(codes.d);
      header.Half(codes.dmin);
      body.Byte(codes.part[0]);
      body.Byte(codes.part_min);
      return body.Nibbles(codes.code);
    case Layout::kSix:
      header.Half(codes.d);
      body.Byte(codes.part[0]);
      body.Byte(codes.part[1]);
      body.Nibbles(codes.code);
      return body.HighPairs(codes.code);
    case Layout::kByteMin:
      body.Float(codes.scale[0]);
      body.Float(codes.min[0]);
      return body.Bytes(codes.code);
    case Layout::kByteMinHalves:
      for (const float scale : codes.scale) body.Float(scale);
      for (const float min : codes.min) body.Float(min);
      return body.Bytes(codes.code);
    case Layout::kSignedHalf:
      body.Half(codes.scale[0]);
      return body.Bytes(codes.code);
    case Layout::kSignedFloat:
      body.Float(codes.scale[0]);
      return body.Bytes(codes.code);
    default:
      return;
  }
}

}  // namespace softsplice
