#include "tests/kernels/matmul_testing.h"

#include <algorithm>
#include <cmath>

#include "kernels/quant_blocks.h"

namespace softsplice::testing {
namespace {

constexpr double kHalfUlp = 0x1p-24;  // of 1.0f

}  // namespace

HostMat Codes(std::mt19937& random, int rows, int cols, int padding) {
  HostMat mat(rows, cols, padding);
  for (int r = 0; r < rows; ++r) {
    std::generate_n(mat[r], cols, [&] { return static_cast<float>(random() % 255) - 127; });
    for (int c = 0; c < cols; c += kBlock) mat(r, c + static_cast<int>(random() % kBlock)) = 127;
  }
  return mat;
}

Expected Oracle(const float* x, const TestWeight& w, int out, Arithmetic arithmetic) {
  const int cols = static_cast<int>(w.tensor.Cols());
  const float* weights = &w.values[static_cast<size_t>(out) * static_cast<size_t>(cols)];
  Expected expected;
  double magnitude = 0;
  for (int b = 0; b < cols; b += kBlock) {
    double most_x = 0, most_w = 0, sum_x = 0, sum_w = 0;
    for (int k = b; k < std::min(cols, b + kBlock); ++k) {
      const double in = x[k], weight = weights[k];
      expected.sum += in * weight;
      if (arithmetic == Arithmetic::kFloat) magnitude += std::fabs(in * weight);
      most_x = std::max(most_x, std::fabs(in));
      most_w = std::max(most_w, std::fabs(weight));
      sum_x += std::fabs(in);
      sum_w += std::fabs(weight);
    }
    if (arithmetic != Arithmetic::kFloat) magnitude += 4 * most_w * sum_x;
    if (arithmetic == Arithmetic::kQuantised) expected.bound += sum_w * most_x / 254;
  }
  // Each of the additions and a few conversions, however they are ordered.
  expected.bound += (cols + 8) * kHalfUlp * magnitude;
  return expected;
}

}  // namespace softsplice::testing
