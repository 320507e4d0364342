// Attention on tensor cores and in float32 against the oracle, and the promise that a row's bits
// depend on nothing but its own sequence: neither on how many of its rows a step has, nor on other
// sequences, nor on where blocks lie.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/gguf/half.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/ref/ref_backend.h"
#include "tests/kernels/cuda/attention_testing.h"

namespace softsplice::cuda {
namespace {

using testing::HostMat;

// Heads, windows and groups of the models: E4B's sliding and full layers (E2B's have one KV head),
// then those of the small ones.
AttentionShape Sliding256(int kv_heads = 2) {
  return {{.heads = 8, .kv_heads = kv_heads, .head_dim = 256, .window = 512}};
}
AttentionShape Full512(int kv_heads = 2) {
  return {{.heads = 8, .kv_heads = kv_heads, .head_dim = 512}};
}
AttentionShape Sliding32(int window = 24) {
  return {{.heads = 5, .kv_heads = 1, .head_dim = 32, .window = window}};
}
AttentionShape Sliding64(int window = 32) {
  return {{.heads = 4, .kv_heads = 1, .head_dim = 64, .window = window}};
}
AttentionShape Full64() { return {{.heads = 4, .kv_heads = 2, .head_dim = 64}}; }
std::vector<AttentionShape> Small() { return {Sliding32(), Sliding64(), Sliding64(700), Full64()}; }

class AttentionTest : public ::testing::Test {
 protected:
  // A score of dim terms is off by sqrt(dim) eps |q| |k|; keys are below 2 sqrt(dim) + 8 long.
  void ExpectLikeRef(const Sequences& sequences, const std::vector<Part>& parts) {
    const AttentionStep step(sequences, parts, seed_++);
    const HostMat got = step.Run(*device_), want = step.Reference(*ref_);
    const AttentionSpec& spec = step.shape.spec;
    const float dim = static_cast<float>(spec.head_dim);
    const float score =
        std::sqrt(dim) * LargestNorm(step.q, spec.head_dim) * (2 * std::sqrt(dim) + 8);
    std::vector<int> seen(static_cast<size_t>(got.rows()));
    for (int r = 0; r < got.rows(); ++r) {
      const int before = *step.positions.Row<int32_t>(r) + 1;
      seen[static_cast<size_t>(r)] = spec.window == 0 ? before : std::min(before, spec.window);
    }
    ExpectNear(got, want, step.Reference(*ref_, /*of_absolutes=*/true),
               {score, std::move(seen), step.shape.type == DType::kF16},
               "head " + std::to_string(spec.head_dim) + ", window " + std::to_string(spec.window));
  }
  HostMat Run(const Sequences& sequences, const std::vector<Part>& parts) {
    return AttentionStep(sequences, parts, seed_++).Run(*device_);
  }

  std::unique_ptr<Backend> device_ = *MakeCudaBackend({});
  std::unique_ptr<Backend> ref_ = MakeRefBackend();
  unsigned seed_ = 1;
};

TEST_F(AttentionTest, DecodesAtAllPositions) {
  const std::vector<int> positions = {0, 1, 63, 64, 65, 255, 256, 257, 900};
  std::vector<AttentionShape> shapes = Small();
  shapes.insert(shapes.end(), {Sliding256(), Full512(), Sliding256(1), Full512(1)});
  for (const AttentionShape& shape : shapes) {
    const int count = static_cast<int>(positions.size());
    const Sequences sequences(shape, count, 901, 1);
    std::vector<Part> parts;
    for (int s = count; s-- > 0;) parts.push_back({s, positions[static_cast<size_t>(s)], 1});
    ExpectLikeRef(sequences, parts);
  }
}

// More than a block merges at once.
TEST_F(AttentionTest, DecodesBehindManySplits) {
  ExpectLikeRef(Sequences(Full64(), 1, 4700, 1), {{0, 4690, 1}});
}

TEST_F(AttentionTest, ReadsPromptsOfAllLengths) {
  for (const AttentionShape& shape : Small()) {
    const Sequences sequences(shape, 3, 964, 2);
    for (const int first : {0, 1, 63, 250, 900}) {
      for (const int rows : {2, 3, 17, 64}) ExpectLikeRef(sequences, {{1, first, rows}});
    }
  }
}

TEST_F(AttentionTest, ReadsPromptsWithLargeHeads) {
  for (const int kv_heads : {2, 1}) {
    const Sequences sliding(Sliding256(kv_heads), 1, 620, 3), full(Full512(kv_heads), 1, 320, 3);
    ExpectLikeRef(sliding, {{0, 0, 20}});
    ExpectLikeRef(sliding, {{0, 580, 40}});
    ExpectLikeRef(full, {{0, 250, 20}});
  }
}

TEST_F(AttentionTest, HasManySequencesInAStep) {
  for (const AttentionShape& shape : Small()) {
    const Sequences sequences(shape, 40, 300, 4);
    std::vector<Part> parts = {{3, 100, 40}, {39, 299, 1}, {5, 0, 2}, {7, 270, 30}};
    for (int s = 10; s < 36; ++s) parts.push_back({s, 7 * s, s % 9 == 0 ? 3 : 1});
    ExpectLikeRef(sequences, parts);
  }
}

// More tiles, and more rows without a neighbour, than sequences or blocks.
TEST_F(AttentionTest, TakesRowsAtAnyPositions) {
  const Sequences sequences(Full64(), 2, 320, 15);
  std::vector<Part> parts;
  for (int i = 0; i < 9; ++i) parts.push_back({1, 10 + 30 * i, 1 + i % 3});
  for (int i = 0; i < 9; ++i) parts.push_back({0, 290 + 3 * i, 1});
  ExpectLikeRef(sequences, parts);
  // Between the windows of two rows lie positions that were never stored.
  ExpectLikeRef(Sequences(Sliding32(4), 1, 120, 15), {{0, 96, 1}, {0, 104, 2}});
}

TEST_F(AttentionTest, TakesAnyWindowAndBlocks) {
  for (const int window : {1, 2, 63, 64, 65, 66, 100, 128, 300}) {
    for (const int block_rows : {1, 7, 64, 300}) {
      AttentionShape shape = Sliding32(window);
      shape.block_rows = block_rows;
      const Sequences sequences(shape, 2, 420, 5);
      ExpectLikeRef(sequences, {{1, 300 + window % 64, 1}, {0, 290, 20}});
    }
  }
}

TEST_F(AttentionTest, TakesGroupsUpToEight) {
  for (const int group : {1, 2, 3, 6, 7, 8}) {
    for (const int window : {0, 100}) {
      const AttentionShape shape{
          {.heads = 2 * group, .kv_heads = 2, .head_dim = 64, .window = window}};
      ExpectLikeRef(Sequences(shape, 2, 330, 6), {{1, 300, 1}, {0, 260, 30}});
    }
  }
}

// Other heads, other groups, and caches in float32.
TEST_F(AttentionTest, TakesEverythingElsePlainly) {
  std::vector<AttentionShape> shapes = {
      {{.heads = 8, .kv_heads = 2, .head_dim = 256, .window = 512}, DType::kF32},
      {{.heads = 8, .kv_heads = 2, .head_dim = 512}, DType::kF32},
      {{.heads = 5, .kv_heads = 1, .head_dim = 64}, DType::kF32, 7},
      {{.heads = 16, .kv_heads = 1, .head_dim = 64}}};
  for (const int dim : {1, 6, 20, 128}) {
    shapes.push_back({{.heads = 4, .kv_heads = 2, .head_dim = dim, .window = 30}});
  }
  for (const AttentionShape& shape : shapes) {
    ExpectLikeRef(Sequences(shape, 3, 300, 7), {{2, 70, 3}, {0, 0, 1}, {1, 256, 1}});
  }
}

// What a step makes of some parts is what others make of the same rows.
class AttentionBitsTest : public AttentionTest {
 protected:
  // Each row alone.
  HostMat OneByOne(const Sequences& sequences, const Part& part) {
    HostMat y(part.rows, sequences.q.cols(), 5);
    for (int i = 0; i < part.rows; ++i) {
      const HostMat row = Run(sequences, {{part.sequence, part.first + i, 1}});
      std::copy_n(row[0], y.cols(), y[i]);
    }
    return y;
  }
};

TEST_F(AttentionBitsTest, DecodesWhatPromptsGive) {
  for (const AttentionShape& shape : Small()) {
    const Sequences sequences(shape, 1, 330, 8);
    const Part part{0, 250, 64};
    EXPECT_TRUE(OneByOne(sequences, part) == Run(sequences, {part})) << shape.spec.head_dim;
  }
  const Part part{0, 590, 4};
  for (const int kv_heads : {2, 1}) {
    const Sequences sliding(Sliding256(kv_heads), 1, 600, 8), full(Full512(kv_heads), 1, 600, 8);
    EXPECT_TRUE(OneByOne(sliding, part) == Run(sliding, {part})) << kv_heads;
    EXPECT_TRUE(OneByOne(full, part) == Run(full, {part})) << kv_heads;
  }
}

TEST_F(AttentionBitsTest, DoNotDependOnChunks) {
  for (const AttentionShape& shape : Small()) {
    const Sequences sequences(shape, 1, 330, 9);
    const HostMat want = OneByOne(sequences, {0, 200, 130});
    for (const int chunk : {3, 17, 64}) {
      for (int first = 0; first < want.rows(); first += chunk) {
        const int rows = std::min(chunk, want.rows() - first);
        EXPECT_TRUE(Run(sequences, {{0, 200 + first, rows}}) == want.Rows(first, rows))
            << chunk << " rows from " << first;
      }
    }
  }
}

TEST_F(AttentionBitsTest, DoNotDependOnNeighbours) {
  for (const AttentionShape& shape : Small()) {
    const Sequences sequences(shape, 40, 320, 10);
    std::vector<Part> parts;
    for (int s = 0; s < 40; ++s) parts.push_back({s, 8 * s, s % 5 == 0 ? 5 : 1});
    const HostMat together = Run(sequences, parts);
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_TRUE(Run(sequences, {parts[i]}) == RowsOf(together, parts, i)) << i;
    }
  }
}

TEST_F(AttentionBitsTest, SkipOnlyTheSecondLaunchWhereRowsAreAlone) {
  const Sequences sequences(Full64(), 3, 320, 11);
  const AttentionStep step(sequences, {{0, 300, 1}, {1, 5, 1}, {2, 0, 2}}, 1);
  const HostMat y = step.Run(*device_, /*one_row_each=*/true);
  EXPECT_TRUE(y.Rows(0, 2) == step.Run(*device_).Rows(0, 2));
  EXPECT_TRUE(std::isnan(y(2, 0)) && std::isnan(y(3, 0)));  // left as they were
}

TEST_F(AttentionBitsTest, DoNotDependOnGaps) {
  const Sequences sequences(Full64(), 1, 320, 16);
  const std::vector<Part> parts = {{0, 20, 1}, {0, 40, 3}, {0, 300, 2}, {0, 304, 1}};
  const HostMat together = Run(sequences, parts);
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_TRUE(OneByOne(sequences, parts[i]) == RowsOf(together, parts, i)) << i;
  }
}

TEST_F(AttentionBitsTest, RoundQueriesToFloat16) {
  Sequences sequences(Full64(), 1, 40, 12);
  const HostMat want = Run(sequences, {
                                          {0, 10, 20},
                                      });
  for (int r = 0; r < 40; ++r) {
    for (int c = 0; c < sequences.q.cols(); ++c) sequences.q(r, c) *= 1 + 0x1p-13f;
  }
  EXPECT_TRUE(Run(sequences, {{0, 10, 20}}) == want);
  EXPECT_TRUE(Run(sequences, {{0, 29, 1}}) == want.Rows(19, 1));
}

// Scores far apart: only the largest counts, in whichever split it lies.
TEST_F(AttentionTest, TakesExtremeScores) {
  for (const AttentionShape& shape : {Full64(), Sliding64(700)}) {
    Sequences sequences(shape, 1, 640, 13);
    for (int p = 0; p < 640; ++p) {
      for (int c = 0; c < sequences.k[0].cols(); ++c) sequences.k[0](p, c) = static_cast<float>(p);
      for (int c = 0; c < sequences.q.cols(); ++c) sequences.q(p, c) = p % 2 == 0 ? 1.0f : -1.0f;
    }
    const HostMat prompt = Run(sequences, {{0, 600, 40}});
    for (int i = 0; i < 40; ++i) {
      const HostMat row = Run(sequences, {{0, 600 + i, 1}});
      const float want = HalfToFloat(FloatToHalf(sequences.v[0](i % 2 == 0 ? 600 + i : 0, 3)));
      EXPECT_EQ(prompt(i, 3), want);
      EXPECT_EQ(row(0, 3), want);
    }
  }
}

// A query that is not a number must not look like an answer, nor touch another one.
TEST_F(AttentionTest, KeepsNaN) {
  Sequences sequences(Full64(), 1, 330, 14);
  const HostMat want = Run(sequences, {{0, 290, 40}});
  sequences.q(300, 70) = std::numeric_limits<float>::quiet_NaN();  // head 1
  const HostMat got = Run(sequences, {{0, 290, 40}});
  const HostMat alone = Run(sequences, {{0, 300, 1}});
  for (int c = 0; c < got.cols(); ++c) {
    EXPECT_EQ(std::isnan(got(10, c)), c / 64 == 1) << c;
    EXPECT_EQ(std::isnan(alone(0, c)), c / 64 == 1) << c;
  }
  EXPECT_TRUE(got.Rows(0, 10) == want.Rows(0, 10) && got.Rows(11, 29) == want.Rows(11, 29));
}

}  // namespace
}  // namespace softsplice::cuda
