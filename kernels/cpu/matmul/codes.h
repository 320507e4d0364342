// Quantised blocks taken apart and put into a panel: what the packer needs to know of a GGUF type.
#pragma once

#include <cstdint>

#include "common/gguf/types.h"
#include "kernels/cpu/matmul/kernels.h"

namespace softsplice {

// kBlock weights. Codes are as the layout wants them. Layouts with float scales use `scale` and
// `min` (of the halves; layouts with one of each use the first); those with integer ones use `d`,
// `dmin` of the super block, and `part`, `part_min`.
struct Codes {
  uint8_t code[kBlock];
  float scale[2];
  float min[2];
  float d;
  float dmin;
  uint8_t part[2];
  uint8_t part_min;
};

// The rows of a tensor that one panel holds.
struct PanelSource {
  const uint8_t* data = nullptr;  // the first row
  size_t row_bytes = 0;
  int count = 0;
  int cols = 0;

  const uint8_t* Row(int o) const { return data + static_cast<size_t>(o) * row_bytes; }
};

struct QuantType {
  gguf::Type type;
  Layout layout;
  // Fills one panel of `panel` outputs.
  void (*pack)(char* dst, int panel, const PanelSource& source);
};

// Null: no integer kernel for this type.
const QuantType* FindQuantType(gguf::Type type);

}  // namespace softsplice
