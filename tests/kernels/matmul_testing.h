// What the matmul tests share: random weights of every type, and how far a sum may be off.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "common/gguf/file.h"
#include "tests/kernels/device.h"

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

// Integers up to 127, with 127 in every 32 of them: they are their own int8 codes.
HostMat Codes(std::mt19937& random, int rows, int cols, int padding);

// One sum and how far it may be off.
//   kFloat: n products and sums in float32.
//   kCodes: the same where activations are their own codes; scales and minimums are rounded, and
//     the two parts of a weight with a minimum may be larger than their sum.
//   kQuantised: each activation is off by half a step of its block, max|x| / 254, too.
enum class Arithmetic { kFloat, kCodes, kQuantised };
struct Expected {
  double sum = 0;
  double bound = 0;
};
Expected Oracle(const float* x, const TestWeight& w, int out, Arithmetic arithmetic);

}  // namespace softsplice::testing
