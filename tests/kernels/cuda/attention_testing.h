// Both attentions as tests run them: their inputs, the kernels of kernels/cuda, the oracle, and how
// far these may be apart.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention.h"
#include "tests/kernels/device.h"

namespace softsplice::cuda {

// Device memory of a test's own, full of one byte.
template <class T>
class Filled {
 public:
  Filled(size_t count, int byte) : bytes_(count * sizeof(T)) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), bytes_ + 1), cudaSuccess);
    EXPECT_EQ(cudaMemsetAsync(data_, byte, bytes_ + 1, nullptr), cudaSuccess);
  }
  ~Filled() { (void)cudaFree(data_); }
  Filled(const Filled&) = delete;
  Filled& operator=(const Filled&) = delete;

  T* data() const { return data_; }
  std::vector<T> Read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    EXPECT_EQ(cudaMemcpyAsync(values.data(), data_, bytes_, cudaMemcpyDeviceToHost, nullptr),
              cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
    return values;
  }

 private:
  size_t bytes_;
  T* data_ = nullptr;
};

// The same matrix, of numbers that float16 has; the same one, of float32 or float16, without signs.
testing::HostMat Halves(testing::HostMat mat);
// Of the heads of all rows.
float LargestNorm(const testing::HostMat& x, int dim);
testing::HostMat Absolute(testing::HostMat mat, DType type);
// Fails unless each number of `got` is as near to that of `want` as float32 and, where they were
// rounded, weights of float16 allow. `sizes`: the same results of the values' absolutes; values are
// below 6. Weights are off by 2 `score` epsilons of themselves, as scores are by one `score`; sums
// over `seen` keys (of each row) round; and a float16 weight is off by 2^-11 of itself, or by 2^-25
// where it is very small. So is the weights' sum, by which they are divided.
struct Rounding {
  float score;
  std::vector<int> seen;
  bool to_half;
};
void ExpectNear(const testing::HostMat& got, const testing::HostMat& want,
                const testing::HostMat& sizes, const Rounding& rounding, const std::string& what);

struct AttentionShape {
  AttentionSpec spec;
  DType type = DType::kF16;
  int block_rows = 16;
  int most_rows = 64;  // of a sequence in a step: what a ring has room for
};

// Keys and values of some sequences, position by position: [positions, kv_heads * head_dim] each.
struct Sequences {
  Sequences(const AttentionShape& shape, int count, int positions, unsigned seed);

  AttentionShape shape;
  std::vector<testing::HostMat> k, v;
  testing::HostMat q;  // of each position, of any sequence; float16 numbers, as float32
};

// Rows [first, first + rows) of a sequence.
struct Part {
  int sequence, first, rows;
};

// A step, and the caches as they are then: positions that no row of the step sees are not a number,
// like blocks that are nobody's. `seed`: for the places of blocks.
class AttentionStep {
 public:
  AttentionStep(const Sequences& sequences, const std::vector<Part>& parts, unsigned seed);

  testing::HostMat Reference(Backend& ref, bool of_absolutes = false) const;
  // By LaunchAttention, in memory of `device`; checks that it leaves its counters zero.
  testing::HostMat Run(Backend& device, bool one_row_each = false) const;

  testing::HostMat q, k, v, table, blocks, sequences, positions;
  AttentionShape shape;

 private:
  AttentionCall CallOn(testing::Device& on, const testing::HostMat& values) const;
};

// Inputs of self attention: float16 numbers, as float32.
struct SelfInputs {
  SelfInputs(int rows, int heads, int dim, unsigned seed);

  testing::HostMat Reference(Backend& ref, const std::vector<int>& starts,
                             bool of_absolutes = false) const;
  // By LaunchSelfAttention, in memory of `device`.
  testing::HostMat Run(Backend& device, const std::vector<int>& starts, bool exact = false) const;

  int heads, dim;
  testing::HostMat q, k, v;
};

// Rows of a step that are a part's.
testing::HostMat RowsOf(const testing::HostMat& y, const std::vector<Part>& parts, size_t part);

}  // namespace softsplice::cuda
