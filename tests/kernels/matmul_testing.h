// What the matmul tests share: the kernels under test, and how far a sum may be off.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/matmul/kernels.h"
#include "kernels/mat.h"
#include "tests/kernels/test_weight.h"

namespace softsplice::testing {

// The kernels that this machine can run, with those of 16 lanes in AVX2 instructions.
struct Target {
  std::string name;
  const Kernels* kernels;
};
std::vector<Target> Targets();
std::string NameOf(const ::testing::TestParamInfo<Target>& info);

// Rows of numbers with a guard of NaN between them.
class Rows {
 public:
  Rows(int rows, int cols, int padding = 0);
  // Normal numbers.
  void Fill(std::mt19937& random);
  // Integers up to 127, with 127 in every 32 of them: they are their own int8 codes.
  void FillWithCodes(std::mt19937& random);

  Mat mat() { return {data_.data(), rows_, cols_, pitch_}; }
  float* operator[](int r) { return mat().Row<float>(r); }
  std::vector<float>& data() { return data_; }
  bool GuardsIntact();

 private:
  int rows_, cols_, pitch_;
  std::vector<float> data_;
};

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
