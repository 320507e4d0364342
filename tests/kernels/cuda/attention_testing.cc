// See attention_testing.h.
#include "tests/kernels/cuda/attention_testing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "common/gguf/half.h"
#include "gtest/gtest.h"

namespace softsplice::cuda {
namespace {

using testing::Device;
using testing::HostMat;

int BlocksFor(const AttentionShape& shape, int positions) {
  const int window = shape.spec.window;
  const int held = window == 0 ? positions : std::min(positions, window + shape.most_rows - 1);
  return (held + shape.block_rows - 1) / shape.block_rows;
}

void Write(HostMat& to, int row, const HostMat& from, int from_row) {
  for (int c = 0; c < from.cols(); ++c) to.Row<uint16_t>(row)[c] = FloatToHalf(from(from_row, c));
}

}  // namespace

HostMat Halves(HostMat mat) {
  for (int r = 0; r < mat.rows(); ++r) {
    for (int c = 0; c < mat.cols(); ++c) mat(r, c) = HalfToFloat(FloatToHalf(mat(r, c)));
  }
  return mat;
}

float LargestNorm(const HostMat& x, int dim) {
  float most = 0;
  for (int r = 0; r < x.rows(); ++r) {
    for (int first = 0; first < x.cols(); first += dim) {
      float sum = 0;
      for (int i = 0; i < dim; ++i) sum += x(r, first + i) * x(r, first + i);
      most = std::max(most, std::sqrt(sum));
    }
  }
  return most;
}

HostMat Absolute(HostMat mat, DType type) {
  const int size = static_cast<int>(SizeOf(type));
  for (int r = 0; r < mat.rows(); ++r) {
    for (int c = 1; c <= mat.cols(); ++c) mat.Row<uint8_t>(r)[c * size - 1] &= 0x7f;
  }
  return mat;
}

void ExpectNear(const HostMat& got, const HostMat& want, const HostMat& sizes,
                const Rounding& rounding, const std::string& what) {
  ASSERT_EQ(got.rows(), want.rows()) << what;
  ASSERT_EQ(got.cols(), want.cols()) << what;
  for (int r = 0; r < got.rows(); ++r) {
    const float seen = static_cast<float>(rounding.seen[static_cast<size_t>(r)]);
    const float relative =
        std::numeric_limits<float>::epsilon() * (2 * rounding.score + std::sqrt(seen) + 10) +
        (rounding.to_half ? 0x1p-11f : 0);
    const float absolute = rounding.to_half ? seen * 0x1p-25f * 2 * 6 : 0;
    for (int c = 0; c < got.cols(); ++c) {
      const float bound = relative * (sizes(r, c) + std::fabs(want(r, c))) + absolute;
      ASSERT_LE(std::fabs(got(r, c) - want(r, c)), bound)
          << what << " at (" << r << ", " << c << "), " << seen << " keys: " << got(r, c)
          << " instead of " << want(r, c);
    }
  }
}

Sequences::Sequences(const AttentionShape& of, int count, int positions, unsigned seed)
    : shape(of), q(0, 0) {
  std::mt19937 random(seed);
  const AttentionSpec& spec = shape.spec;
  for (int s = 0; s < count; ++s) {
    k.push_back(HostMat::Normal(random, positions, spec.kv_heads * spec.head_dim));
    v.push_back(HostMat::Normal(random, positions, spec.kv_heads * spec.head_dim));
  }
  // Scores with a deviation of 2: neither flat nor one-hot.
  q = Halves(HostMat::Normal(random, positions, spec.heads * spec.head_dim, 0,
                             2 / std::sqrt(static_cast<float>(spec.head_dim))));
}

AttentionStep::AttentionStep(const Sequences& of, const std::vector<Part>& parts, unsigned seed)
    : q(0, 0),
      k(0, 0),
      v(0, 0),
      table(0, 0),
      blocks(0, 0),
      sequences(0, 0),
      positions(0, 0),
      shape(of.shape) {
  const int count = static_cast<int>(of.k.size()), most = of.q.rows();
  const int most_blocks = BlocksFor(shape, most), all_blocks = count * most_blocks + 2;
  std::vector<int> order(static_cast<size_t>(all_blocks));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  table = HostMat(count, most_blocks + 1, 0, DType::kI32);
  blocks = HostMat::Ints(std::vector<int>(static_cast<size_t>(count), most_blocks));
  for (int s = 0; s < count; ++s) {
    std::copy_n(&order[static_cast<size_t>(s * most_blocks)], most_blocks, table.Row<int32_t>(s));
  }
  k = v = HostMat(all_blocks * shape.block_rows, of.k[0].cols(), 8, shape.type);
  std::vector<int> ids, at;
  for (const Part& part : parts) {
    const int window = shape.spec.window, end = part.first + part.rows;
    for (int p = window == 0 ? 0 : std::max(0, part.first - window + 1); p < end; ++p) {
      const int block = table.Row<int32_t>(part.sequence)[p / shape.block_rows % most_blocks];
      const int row = block * shape.block_rows + p % shape.block_rows;
      if (shape.type == DType::kF16) {
        Write(k, row, of.k[static_cast<size_t>(part.sequence)], p);
        Write(v, row, of.v[static_cast<size_t>(part.sequence)], p);
      } else {
        std::copy_n(of.k[static_cast<size_t>(part.sequence)][p], k.cols(), k[row]);
        std::copy_n(of.v[static_cast<size_t>(part.sequence)][p], v.cols(), v[row]);
      }
    }
    for (int p = part.first; p < end; ++p) {
      ids.push_back(part.sequence);
      at.push_back(p);
    }
  }
  sequences = HostMat::Ints(ids);
  positions = HostMat::Ints(at);
  q = HostMat(static_cast<int>(at.size()), of.q.cols(), 3);
  for (size_t r = 0; r < at.size(); ++r) {
    std::copy_n(of.q[at[r]], q.cols(), q[static_cast<int>(r)]);
  }
}

AttentionCall AttentionStep::CallOn(Device& on, const HostMat& values) const {
  return {.y = on.New(q.rows(), q.cols(), 5),
          .q = on.Copy(q),
          .kv = {on.Copy(k), on.Copy(values)},
          .rows = {on.Copy(sequences), on.Copy(positions)},
          .pages = {on.Copy(table), on.Copy(blocks), shape.block_rows},
          .spec = shape.spec};
}

HostMat AttentionStep::Reference(Backend& ref, bool of_absolutes) const {
  Device on(ref);
  const AttentionCall call = CallOn(on, of_absolutes ? Absolute(v, shape.type) : v);
  on->Attention(call.y, call.q, call.kv, call.rows, call.pages, call.spec);
  return *on.Read(call.y);
}

HostMat AttentionStep::Run(Backend& device, bool one_row_each) const {
  Device on(device);
  AttentionCall call = CallOn(on, v);
  call.rows.one_row_each = one_row_each;
  const AttentionScratchSize size = ScratchFor(call);
  const Filled<float> partials(size.partials, 0xff);
  const Filled<unsigned> counters(size.counters, 0);
  EXPECT_TRUE(on->Wait().ok());
  // Few multiprocessors: each block has several splits to do.
  EXPECT_EQ(LaunchAttention(nullptr, call, {partials.data(), counters.data()}, 1), cudaSuccess);
  EXPECT_EQ(counters.Read(), std::vector<unsigned>(size.counters, 0));
  absl::StatusOr<HostMat> y = on.Read(call.y);
  EXPECT_TRUE(y.ok()) << y.status();
  return *std::move(y);
}

SelfInputs::SelfInputs(int rows, int of_heads, int of_dim, unsigned seed)
    : heads(of_heads), dim(of_dim), q(0, 0), k(0, 0), v(0, 0) {
  std::mt19937 random(seed);
  const float scale = 2 / std::sqrt(static_cast<float>(dim));
  q = Halves(HostMat::Normal(random, rows, heads * dim, 1, scale));
  k = Halves(HostMat::Normal(random, rows, heads * dim, 2));
  v = Halves(HostMat::Normal(random, rows, heads * dim, 3));
}

HostMat SelfInputs::Reference(Backend& ref, const std::vector<int>& starts,
                              bool of_absolutes) const {
  Device on(ref);
  const Mat y = on.New(q.rows(), q.cols(), 5);
  on->SelfAttention(y, on.Copy(q), on.Copy(k), on.Copy(of_absolutes ? Absolute(v, DType::kF32) : v),
                    on.Ints(starts), heads);
  return *on.Read(y);
}

HostMat SelfInputs::Run(Backend& device, const std::vector<int>& starts, bool exact) const {
  Device on(device);
  const SelfAttentionCall call{.y = on.New(q.rows(), q.cols(), 5),
                               .q = on.Copy(q),
                               .k = on.Copy(k),
                               .v = on.Copy(v),
                               .starts = on.Ints(starts),
                               .heads = heads,
                               .exact = exact};
  const Filled<uint16_t> scratch(ScratchFor(call), 0xff);
  EXPECT_TRUE(on->Wait().ok());
  EXPECT_EQ(LaunchSelfAttention(nullptr, call, scratch.data()), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  absl::StatusOr<HostMat> y = on.Read(call.y);
  EXPECT_TRUE(y.ok()) << y.status();
  return *std::move(y);
}

HostMat RowsOf(const HostMat& y, const std::vector<Part>& parts, size_t part) {
  int first = 0;
  for (size_t i = 0; i < part; ++i) first += parts[i].rows;
  return y.Rows(first, parts[part].rows);
}

}  // namespace softsplice::cuda
