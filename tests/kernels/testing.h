// What the kernel tests share: the backends under test, matrices with guarded padding, random
// numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/gguf/file.h"
#include "common/gguf/half.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/isa.h"
#include "kernels/ref/ref_backend.h"

namespace softsplice::cpu_avx2x16 {
const CpuOps& Ops();
}

namespace softsplice::testing {

inline constexpr float kEps = std::numeric_limits<float>::epsilon();
inline constexpr int kThreads = 3;

// A backend of the machine, and the wide kernels in AVX2 instructions.
struct Candidate {
  std::string name;
  std::function<std::unique_ptr<Backend>(int threads)> make;
};

inline std::vector<Candidate> Candidates() {
  std::vector<Candidate> all;
  for (const Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (!Supported(isa)) continue;
    all.push_back({std::string(IsaName(isa)),
                   [isa](int threads) { return MakeCpuBackend(isa, threads, true); }});
  }
  if (Supported(Isa::kAvx2)) {
    all.push_back({"avx2x16", [](int threads) {
                     return MakeCpuBackend(cpu_avx2x16::Ops(), Isa::kAvx2, threads, true);
                   }});
  }
  return all;
}

inline std::string NameOf(const ::testing::TestParamInfo<Candidate>& info) {
  return info.param.name;
}

// Each test runs for every candidate, beside the oracle.
class BackendTest : public ::testing::TestWithParam<Candidate> {
 protected:
  std::unique_ptr<Backend> cpu_ = GetParam().make(kThreads);
  std::unique_ptr<Backend> ref_ = MakeRefBackend();
  std::mt19937 random_{20240607};
};

// A matrix that owns its memory; `padding` numbers between the rows hold a guard value.
class HostMat {
 public:
  HostMat(int rows, int cols, int padding = 0, DType type = DType::kF32)
      : rows_(rows), cols_(cols), pitch_(cols + padding), type_(type) {
    bytes_.assign(static_cast<size_t>(rows) * static_cast<size_t>(pitch_) * SizeOf(type), kGuard);
  }
  static HostMat Normal(std::mt19937& random, int rows, int cols, int padding = 0,
                        float scale = 1) {
    HostMat mat(rows, cols, padding);
    std::normal_distribution<float> normal(0, scale);
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) mat(r, c) = normal(random);
    }
    return mat;
  }
  static HostMat Ints(const std::vector<int>& values) {
    HostMat mat(static_cast<int>(values.size()), 1, 0, DType::kI32);
    for (size_t i = 0; i < values.size(); ++i) {
      *mat.view().Row<int32_t>(static_cast<int>(i)) = values[i];
    }
    return mat;
  }

  Mat view() { return {bytes_.data(), rows_, cols_, pitch_, type_}; }
  float& operator()(int r, int c) { return view().Row<float>(r)[c]; }
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

  // Whether nothing was written between the rows.
  bool GuardsIntact() {
    const size_t size = SizeOf(type_);
    for (int r = 0; r < rows_; ++r) {
      const size_t row = static_cast<size_t>(r) * static_cast<size_t>(pitch_);
      for (size_t i = (row + static_cast<size_t>(cols_)) * size;
           i < (row + static_cast<size_t>(pitch_)) * size; ++i) {
        if (bytes_[i] != kGuard) return false;
      }
    }
    return true;
  }

 private:
  static constexpr uint8_t kGuard = 0xff;  // NaN in every float type
  int rows_;
  int cols_;
  int pitch_;
  DType type_;
  std::vector<uint8_t> bytes_;
};

// Fails unless |got - want| <= relative * |want| + absolute everywhere.
inline void ExpectNear(HostMat& got, HostMat& want, float relative, float absolute,
                       const std::string& what) {
  ASSERT_EQ(got.rows(), want.rows());
  ASSERT_EQ(got.cols(), want.cols());
  EXPECT_TRUE(got.GuardsIntact()) << what;
  for (int r = 0; r < got.rows(); ++r) {
    for (int c = 0; c < got.cols(); ++c) {
      const float bound = relative * std::fabs(want(r, c)) + absolute;
      ASSERT_LE(std::fabs(got(r, c) - want(r, c)), bound)
          << what << " at (" << r << ", " << c << "): " << got(r, c) << " instead of "
          << want(r, c);
    }
  }
}

// A tensor over memory of the caller's.
inline gguf::Tensor TensorOf(gguf::Type type, std::vector<int64_t> dims,
                             const std::vector<uint8_t>& bytes) {
  return {.name = "test",
          .type = type,
          .dims = std::move(dims),
          .data = bytes.data(),
          .bytes = bytes.size()};
}
inline gguf::Tensor FloatTensor(HostMat& mat) {
  return TensorOf(gguf::Type::kF32, {mat.cols(), mat.rows()}, mat.bytes());
}

}  // namespace softsplice::testing
