// Quantised blocks taken apart: what the packer needs to know of a GGUF type.
#pragma once

#include <cstdint>

#include "common/gguf/types.h"
#include "kernels/cpu/matmul/kernels.h"

namespace softsplice {

// kBlock weights: value = scale * code + min, with one scale and min for each half. Codes are as
// the layout has them (a centred layout subtracts its centre itself, and min is 0).
struct Codes {
  uint8_t code[kBlock];  // int8_t's bits in signed layouts
  float scale[2];
  float min[2];
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
