// What the kernel tests share: the backends under test, and comparisons with the oracle.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/backend_options.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/isa.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/ref/ref_backend.h"
#include "tests/kernels/device.h"

namespace softsplice::cpu_avx2x16 {
const CpuOps& Ops();
}

namespace softsplice::testing {

inline constexpr float kEps = std::numeric_limits<float>::epsilon();
inline constexpr int kThreads = 3;

// A backend of the machine, the wide kernels in AVX2 instructions, or CUDA's: on the device, or on
// its emulation, whichever the test is linked with. The options' name is ignored.
struct Candidate {
  std::string name;
  std::function<std::unique_ptr<Backend>(const BackendOptions& options)> make;
};

inline std::vector<Candidate> CpuCandidates() {
  std::vector<Candidate> all;
  for (const Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (!Supported(isa)) continue;
    all.push_back({std::string(IsaName(isa)), [isa](const BackendOptions& options) {
                     return MakeCpuBackend(isa, options.threads, options.exact_weights);
                   }});
  }
  if (Supported(Isa::kAvx2)) {
    all.push_back({"avx2x16", [](const BackendOptions& options) {
                     return MakeCpuBackend(cpu_avx2x16::Ops(), "avx2x16", options.threads,
                                           options.exact_weights);
                   }});
  }
  return all;
}

inline std::vector<Candidate> Candidates() {
  std::vector<Candidate> all = CpuCandidates();
  all.push_back({"cuda", [](const BackendOptions& options) {
                   return *MakeCudaBackend({.exact = options.exact_weights});
                 }});
  return all;
}

inline std::string NameOf(const ::testing::TestParamInfo<Candidate>& info) {
  return info.param.name;
}

// Runs ops that leave their result in one matrix, from which it is read.
using Ops = absl::FunctionRef<Mat(Device& on)>;
inline HostMat RunOn(Backend& backend, Ops ops) {
  Device on(backend);
  absl::StatusOr<HostMat> result = on.Read(ops(on));
  EXPECT_TRUE(result.ok()) << backend.Name() << ": " << result.status();
  return *std::move(result);
}

// Fails unless |got - want| <= relative * |want| + absolute everywhere.
inline void ExpectNear(const HostMat& got, const HostMat& want, float relative, float absolute,
                       const std::string& what) {
  ASSERT_EQ(got.rows(), want.rows());
  ASSERT_EQ(got.cols(), want.cols());
  for (int r = 0; r < got.rows(); ++r) {
    for (int c = 0; c < got.cols(); ++c) {
      const float bound = relative * std::fabs(want(r, c)) + absolute;
      ASSERT_LE(std::fabs(got(r, c) - want(r, c)), bound)
          << what << " at (" << r << ", " << c << "): " << got(r, c) << " instead of "
          << want(r, c);
    }
  }
}

// Each test runs for every candidate, beside the oracle.
class BackendTest : public ::testing::TestWithParam<Candidate> {
 protected:
  static std::unique_ptr<Backend> Make(int threads, bool exact_weights) {
    return GetParam().make({.threads = threads, .exact_weights = exact_weights});
  }
  std::vector<Backend*> Both() const { return {ref_.get(), backend_.get()}; }
  // The result is the oracle's within a bound, and the same to the bit a second time (where the
  // emulation runs threads in another order).
  void ExpectLikeRef(float relative, float absolute, const std::string& what, Ops ops) {
    const HostMat got = RunOn(*backend_, ops);
    ExpectNear(got, RunOn(*ref_, ops), relative, absolute, what);
    EXPECT_TRUE(RunOn(*backend_, ops) == got) << what << ", again";
  }
  // op(on, true) is a fusion, op(on, false) its definition: the same bits on one backend, and the
  // oracle's result within a bound.
  void ExpectItsDefinition(float relative, float absolute, const std::string& what,
                           absl::FunctionRef<Mat(Device& on, bool fused)> op) {
    const auto fused = [&](Device& on) { return op(on, true); };
    ExpectLikeRef(relative, absolute, what, fused);
    EXPECT_TRUE(RunOn(*backend_, fused) ==
                RunOn(*backend_, [&](Device& on) { return op(on, false); }))
        << what << ", by its definition";
  }
  // ops(on, first, rows, starts) works on the rows [first, first + rows), cut into runs at
  // `starts`. All runs at once give what the oracle gives, and, to the bit, what each run gives
  // alone on one thread.
  template <class RunOps>
  void CompareRuns(const std::vector<int>& starts, float absolute, RunOps ops) {
    const auto all = [&](Device& on) { return ops(on, 0, starts.back(), on.Ints(starts)); };
    const HostMat together = RunOn(*backend_, all);
    ExpectNear(together, RunOn(*ref_, all), 0, absolute, "all runs");
    const std::unique_ptr<Backend> one = Make(1, true);
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      const int rows = starts[i + 1] - starts[i];
      const HostMat alone = RunOn(*one, [&](Device& on) {
        return ops(on, starts[i], rows, on.Ints({0, rows}));
      });
      EXPECT_TRUE(alone == together.Rows(starts[i], rows)) << "run " << i;
    }
  }

  std::unique_ptr<Backend> backend_ = Make(kThreads, true);
  std::unique_ptr<Backend> ref_ = MakeRefBackend();
  std::mt19937 random_{20240607};
};

}  // namespace softsplice::testing
