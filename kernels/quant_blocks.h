// What quantised rows of GGUF consist of, whatever their type: blocks of 32 weights, some in super
// blocks of 256. What packers and kernels of all backends share; C headers only, for the bodies.
#pragma once

#include <stdint.h>

namespace softsplice {

constexpr int kBlock = 32;
constexpr int kSuperBlock = 256;

// A block taken apart. Weight i is d * scale[h] * (code[i] - offset) - dmin * min[h], the products
// in that order, h = i / 16.
struct QuantBlock {
  int8_t code[kBlock];
  int offset;
  float d, dmin;  // float16 in the file
  int scale[2], min[2];
};

}  // namespace softsplice
