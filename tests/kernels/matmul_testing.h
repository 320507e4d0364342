// What the matmul tests share: numbers that are their own codes, and how far a sum may be off.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "tests/kernels/device.h"
#include "tests/kernels/test_weight.h"

namespace softsplice::testing {

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
