// Sizes of the packed layouts, and one output's part of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/gguf/half.h"
#include "kernels/cpu/matmul/codes.h"
#include "kernels/cpu/matmul/kernels.h"

namespace softsplice {

// Inputs per unit; 1 for floats.
int UnitInputs(Layout layout);

// Bytes of a unit's header and of each of its blocks (floats: of one input), for one panel.
struct UnitBytes {
  size_t header = 0;
  size_t block = 0;
};
UnitBytes BytesOf(Layout layout, int panel);

// Where things of one output go: each writer puts its own and moves on by the panel's.
class PanelWriter {
 public:
  PanelWriter(char* dst, int panel, int o) : dst_(dst), panel_(panel), o_(o) {}

  void Half(float value) { Put(FloatToHalf(value)); }
  void Float(float value) { Put(value); }
  void Byte(uint8_t value) { Put(value); }

  void Bytes(const uint8_t* code) {
    for (int k = 0; k < kBlock; k += 4) Put(Four(code + k));
  }
  void Nibbles(const uint8_t* code) {
    for (int k = 0; k < kBlock / 2; k += 4) {
      Put((Four(code + k) & 0x0f0f0f0f) | (Four(code + k + kBlock / 2) & 0x0f0f0f0f) << 4);
    }
  }
  void HighPairs(const uint8_t* code) {
    for (int k = 0; k < kBlock; k += kBlock / 2) {
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

// Writes output `o` of a panel of `panel` outputs: its numbers of the unit that starts at `header`,
// and of the unit's block that starts at `body`. Quantised layouts.
template <Layout kLayout>
void StoreCodes(char* header_at, char* body_at, int panel, int o, const Codes& codes) {
  PanelWriter header(header_at, panel, o);
  PanelWriter body(body_at, panel, o);
  if constexpr (kLayout == Layout::kNibbleCentred) {
    body.Half(codes.scale[0]);
    body.Nibbles(codes.code);
  } else if constexpr (kLayout == Layout::kNibbleMin) {
    body.Half(codes.scale[0]);
    body.Half(codes.min[0]);
    body.Nibbles(codes.code);
  } else if constexpr (kLayout == Layout::kNibbleSuper) {
    header.Half(codes.d);
    header.Half(codes.dmin);
    body.Byte(codes.part[0]);
    body.Byte(codes.part_min);
    body.Nibbles(codes.code);
  } else if constexpr (kLayout == Layout::kSix) {
    header.Half(codes.d);
    body.Byte(codes.part[0]);
    body.Byte(codes.part[1]);
    body.Nibbles(codes.code);
    body.HighPairs(codes.code);
  } else if constexpr (kLayout == Layout::kByteMin) {
    body.Float(codes.scale[0]);
    body.Float(codes.min[0]);
    body.Bytes(codes.code);
  } else if constexpr (kLayout == Layout::kByteMinHalves) {
    for (const float scale : codes.scale) body.Float(scale);
    for (const float min : codes.min) body.Float(min);
    body.Bytes(codes.code);
  } else if constexpr (kLayout == Layout::kSignedHalf) {
    body.Half(codes.scale[0]);
    body.Bytes(codes.code);
  } else {
    static_assert(kLayout == Layout::kSignedFloat);
    body.Float(codes.scale[0]);
    body.Bytes(codes.code);
  }
}

}  // namespace softsplice
