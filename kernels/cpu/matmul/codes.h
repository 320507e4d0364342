// Quantised blocks taken apart: what the packer needs to know of a GGUF type.
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

struct QuantType {
  gguf::Type type;
  Layout layout;
  // Block number `block` (of kBlock weights) of a row.
  void (*decode)(const uint8_t* row, int block, Codes* codes);
};

// Null: no integer kernel for this type.
const QuantType* FindQuantType(gguf::Type type);

}  // namespace softsplice
