// Where random blocks need numbers that make sense: any byte will do as codes and integer scales,
// but not as float16.
#pragma once

#include <cstddef>

#include "common/gguf/types.h"

namespace softsplice {

// Where a block has the half-precision factor of its codes, and where that of its minimum: `centre`
// times as large it moves the mean of all codes to 0.
struct HalfNumbers {
  size_t scale = 0;
  size_t minimum = 0;
  float centre = 0;  // 0: there is no minimum
};

inline HalfNumbers HalfNumbersOf(gguf::Type type) {
  using gguf::Type;
  switch (type) {
    case Type::kQ4_1:
      return {0, 2, -7.5f};
    case Type::kQ5_1:
      return {0, 2, -15.5f};
    case Type::kQ2_K:
      return {80, 82, 1.5f};
    case Type::kQ3_K:
      return {.scale = 108};
    case Type::kQ4_K:
      return {0, 2, 7.5f};
    case Type::kQ5_K:
      return {0, 2, 15.5f};
    case Type::kQ6_K:
      return {.scale = 208};
    default:
      return {};
  }
}

}  // namespace softsplice
