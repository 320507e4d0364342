#include "tests/kernels/matmul_testing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/isa.h"

namespace softsplice::testing {
namespace {

constexpr double kHalfUlp = 0x1p-24;  // of 1.0f

}  // namespace

std::vector<Target> Targets() {
  std::vector<Target> all;
  all.push_back({"generic", &cpu_generic::kMatmulKernels});
  if (Supported(Isa::kAvx2)) {
    all.push_back({"avx2", &cpu_avx2::kMatmulKernels});
    all.push_back({"avx2x16", &cpu_avx2x16::kMatmulKernels});
  }
  if (Supported(Isa::kAvx512)) all.push_back({"avx512", &cpu_avx512::kMatmulKernels});
  return all;
}

std::string NameOf(const ::testing::TestParamInfo<Target>& info) { return info.param.name; }

Rows::Rows(int rows, int cols, int padding)
    : rows_(rows),
      cols_(cols),
      pitch_(cols + padding),
      data_(static_cast<size_t>(rows) * static_cast<size_t>(pitch_),
            std::numeric_limits<float>::quiet_NaN()) {}

void Rows::Fill(std::mt19937& random) {
  std::normal_distribution<float> normal;
  for (int r = 0; r < rows_; ++r) {
    std::generate_n((*this)[r], cols_, [&] { return normal(random); });
  }
}

void Rows::FillWithCodes(std::mt19937& random) {
  for (int r = 0; r < rows_; ++r) {
    float* row = (*this)[r];
    std::generate_n(row, cols_, [&] { return static_cast<float>(random() % 255) - 127; });
    for (int c = 0; c < cols_; c += kBlock) row[c + static_cast<int>(random() % kBlock)] = 127;
  }
}

bool Rows::GuardsIntact() {
  for (int r = 0; r < rows_; ++r) {
    for (int c = cols_; c < pitch_; ++c) {
      if (!std::isnan((*this)[r][c])) return false;
    }
  }
  return true;
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
