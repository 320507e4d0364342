// Sizes of the packed layouts, and one output's part of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/gguf/half.h"
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

  void Bytes(const int8_t* code) {
    for (int k = 0; k < kBlock; k += 4) Put(Four(code + k));
  }
  void Nibbles(const int8_t* code) {
    for (int k = 0; k < kBlock / 2; k += 4) {
      Put((Four(code + k) & 0x0f0f0f0f) | (Four(code + k + kBlock / 2) & 0x0f0f0f0f) << 4);
    }
  }
  void HighPairs(const int8_t* code) {
    for (int k = 0; k < kBlock; k += kBlock / 2) {
      uint32_t four = 0;
      for (int i = 0; i < 4; ++i) four |= (Four(code + k + 4 * i) >> 4 & 0x03030303) << 2 * i;
      Put(four);
    }
  }

 private:
  static uint32_t Four(const int8_t* code) {
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

// As layouts with floats hold a half of a block: codes times a scale, plus a minimum.
inline float ScaleOf(const QuantBlock& block, int half) {
  return block.d * static_cast<float>(block.scale[half]);
}
inline float MinOf(const QuantBlock& block, int half) {
  if (block.offset != 0) return static_cast<float>(-block.offset) * ScaleOf(block, half);
  return -(block.dmin * static_cast<float>(block.min[half]));
}

// Writes output `o` of a panel of `panel` outputs: its numbers of the unit that starts at `header`,
// and of the unit's block that starts at `body`. Quantised layouts.
template <Layout kLayout>
void StoreBlock(char* header_at, char* body_at, int panel, int o, const QuantBlock& block) {
  PanelWriter header(header_at, panel, o);
  PanelWriter body(body_at, panel, o);
  if constexpr (kLayout == Layout::kNibbleCentred) {
    body.Half(ScaleOf(block, 0));
    body.Nibbles(block.code);
  } else if constexpr (kLayout == Layout::kNibbleMin) {
    body.Half(ScaleOf(block, 0));
    body.Half(MinOf(block, 0));
    body.Nibbles(block.code);
  } else if constexpr (kLayout == Layout::kNibbleSuper) {
    header.Half(block.d);
    header.Half(block.dmin);
    body.Byte(static_cast<uint8_t>(block.scale[0]));
    body.Byte(static_cast<uint8_t>(block.min[0]));
    body.Nibbles(block.code);
  } else if constexpr (kLayout == Layout::kSix) {
    header.Half(block.d);
    body.Byte(static_cast<uint8_t>(block.scale[0]));
    body.Byte(static_cast<uint8_t>(block.scale[1]));
    body.Nibbles(block.code);
    body.HighPairs(block.code);
  } else if constexpr (kLayout == Layout::kByteMin) {
    body.Float(ScaleOf(block, 0));
    body.Float(MinOf(block, 0));
    body.Bytes(block.code);
  } else if constexpr (kLayout == Layout::kByteMinHalves) {
    for (int half = 0; half < 2; ++half) body.Float(ScaleOf(block, half));
    for (int half = 0; half < 2; ++half) body.Float(MinOf(block, half));
    body.Bytes(block.code);
  } else if constexpr (kLayout == Layout::kSignedHalf) {
    body.Half(ScaleOf(block, 0));
    body.Bytes(block.code);
  } else {
    static_assert(kLayout == Layout::kSignedFloat);
    body.Float(ScaleOf(block, 0));
    body.Bytes(block.code);
  }
}

}  // namespace softsplice
