// Random weights of every type.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "common/gguf/file.h"

namespace softsplice::testing {

using gguf::Type;

inline constexpr Type kFloatTypes[] = {Type::kF32, Type::kF16, Type::kBF16};
inline constexpr Type kQuantTypes[] = {Type::kQ4_0, Type::kQ4_1, Type::kQ5_0,   Type::kQ5_1,
                                       Type::kQ8_0, Type::kQ2_K, Type::kQ3_K,   Type::kQ4_K,
                                       Type::kQ5_K, Type::kQ6_K, Type::kIQ4_NL, Type::kIQ4_XS};

bool IsFloat(Type type);
std::string Name(Type type);

// A linear layer's tensor [outs, cols] and its values: normal numbers, or blocks with all codes and
// integer scales and with half-precision scales of both signs up to 0.02.
struct TestWeight {
  TestWeight(Type type, int outs, int cols, std::mt19937& random);
  TestWeight(const TestWeight&) = delete;

  std::vector<uint8_t> bytes;
  std::vector<float> values;
  gguf::Tensor tensor;  // over `bytes`
};

}  // namespace softsplice::testing
