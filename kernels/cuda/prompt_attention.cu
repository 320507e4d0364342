// Attention of prompt rows: q [rows, heads * dim] float32, the cache float16. A block takes a tile
// of rows of one sequence, as many as give 64 queries with the heads of one KV head, and walks the
// splits of their keys (softmax.h). Reads each key and value once for all of them: 2 kDim numbers
// of 2 bytes a position for 256 kDim products.
//
// Queries are the rows of the tensor core's products, keys and then dims the columns. A warp has
// 32 queries and, of each slice that arrives, its share of the columns.
#include <algorithm>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/softmax.h"

namespace softsplice::cuda {
namespace {

template <int kDim, int kSplit>
struct PromptShape {
  static constexpr bool kFull = kSplit == kFullSplit;
  static constexpr int kWarpsAcross = kFull ? 4 : 2;
  static constexpr int kThreads = 2 * 32 * kWarpsAcross;
  // Keys arrive in slices of keys and dims, one part of the keys after the other.
  static constexpr int kKeySlice = std::min(kSplit, 128);
  static constexpr int kKeyDims = std::min(kDim, kFull ? 64 : 128);
  static constexpr int kKeyParts = kSplit / kKeySlice;
  static constexpr int kKeySteps = kKeyParts * (kDim / kKeyDims);
  static constexpr int kKeyTiles = kKeySlice / 8 / kWarpsAcross;
  // Values: one part of the dims after the other.
  static constexpr int kValueSlice = 64;
  static constexpr int kValueDims = std::min(kDim, kFull ? 128 : 64);
  static constexpr int kDimParts = kDim / kValueDims;
  static constexpr int kValueSteps = kDimParts * (kSplit / kValueSlice);
  static constexpr int kDimTiles = kValueDims / 8 / kWarpsAcross;

  static constexpr int kSteps = kKeySteps + kValueSteps;
  static constexpr int kStages = std::min(kSteps, 3);
  static constexpr int kStageNumbers =
      std::max(kKeySlice * kPitchOf<kKeyDims>, kValueSlice* kPitchOf<kValueDims>);
};

template <int kDim, int kSplit>
struct PromptTile {
  using Shape = PromptShape<kDim, kSplit>;
  alignas(16) uint16_t stages[Shape::kStages][Shape::kStageNumbers];
  alignas(16) uint16_t q[kPromptQueries][kPitchOf<kDim>];
  alignas(16) uint32_t weights[kPromptQueries][kPitchOf<kSplit> / 2];  // pairs of float16
  float tops[Shape::kWarpsAcross][kPromptQueries];
  int keys[2][kSplit];  // of even and of odd splits
  int item, row, last;  // the tile's number, its first row, and the last key that any row sees
  int last_of_query[kPromptQueries];  // -1 where there is no such query
  // Of what is merged so far; maxima alternate from split to split.
  float tops_so_far[2][kPromptQueries], sums_so_far[kPromptQueries];
};
static_assert(sizeof(PromptTile<512, kFullSplit>) <= kSharedOfBlock);
static_assert(2 * sizeof(PromptTile<256, kSlidingSplit>) <= kSharedOfMultiprocessor);

// A tile of rows, and the KV head that is the block's x. Registers of a query are [i][j]: query 16
// i + 8 j + g of the warp's 32.
template <int kDim, int kSplit>
class PromptBlock {
 public:
  using Shape = PromptShape<kDim, kSplit>;
  using Tile = PromptTile<kDim, kSplit>;

  __device__ explicit PromptBlock(const CacheAttention& given) : a_(given), tile_(Shared<Tile>()) {}

  __device__ void Run() {
    split_ = a_.SeenBy(tile_.row).first / kSplit;
    LoadQueries();
    FindKeys(split_);
    __syncthreads();
    for (int step = 0; step < Shape::kStages - 1; ++step) Copy(split_, step, step);
    for (; split_ <= tile_.last / kSplit; ++split_) {
      float scores[Shape::kKeyParts][2][Shape::kKeyTiles][4] = {};
      AddScores(scores);
      StoreWeights(scores);
      AddValues();
    }
    Store();
  }

 private:
  static __device__ int KvHead() { return blockIdx.x; }
  static __device__ int G() { return threadIdx.x % 32 / 4; }
  static __device__ int T() { return threadIdx.x % 4; }
  // The warp's first query, and its place among those that share its queries.
  static __device__ int Query() { return threadIdx.x / 32 / Shape::kWarpsAcross * 32; }
  static __device__ int QueryOf(int i, int j) { return Query() + 16 * i + 8 * j + G(); }
  static __device__ int Across() { return threadIdx.x / 32 % Shape::kWarpsAcross; }

  // Where a query's head begins in a row of q and y.
  __device__ int Column(int query) const { return (KvHead() * a_.group + query % a_.group) * kDim; }
  // The last key that a query sees.
  __device__ int LastOf(int i, int j) const { return tile_.last_of_query[QueryOf(i, j)]; }

  __device__ void LoadQueries() {
    for (int query = threadIdx.x / 32; query < kPromptQueries; query += Shape::kThreads / 32) {
      const int row = tile_.row + query / a_.group;
      const bool live = a_.InTile(tile_.row, row);
      if (threadIdx.x % 32 == 0) {
        tile_.last_of_query[query] = live ? a_.SeenBy(row).last : -1;
        tile_.tops_so_far[split_ % 2][query] = -INFINITY;
        tile_.sums_so_far[query] = 0;
      }
      const float* from = a_.q.Row(live ? row : tile_.row) + Column(query);
      for (int d = threadIdx.x % 32; d < kDim; d += 32) {
        tile_.q[query][d] = live ? FloatToHalf(from[d]) : uint16_t{0};
      }
    }
  }

  __device__ void FindKeys(int split) {
    const int sequence = *a_.sequences.Row(tile_.row);
    const Seen seen{a_.SeenBy(tile_.row).first, tile_.last};  // by any row
    for (int i = threadIdx.x; i < kSplit; i += Shape::kThreads) {
      tile_.keys[split % 2][i] = a_.KeyRow(sequence, split * kSplit + i, seen);
    }
  }

  // Begins to copy what a step of a split (or of the next one) works on to a stage.
  __device__ void Copy(int split, int step, int stage) {
    if (step >= Shape::kSteps) {
      step -= Shape::kSteps;
      ++split;
    }
    uint16_t* to = tile_.stages[stage];
    const int* keys = tile_.keys[split % 2];
    const int column = KvHead() * kDim;
    if (split > tile_.last / kSplit) {
      // all are on their way
    } else if (step < Shape::kKeySteps) {
      constexpr int kSlices = kDim / Shape::kKeyDims;
      CopyRows<Shape::kKeySlice, Shape::kKeyDims, Shape::kThreads>(
          to, a_.k, keys + step / kSlices * Shape::kKeySlice,
          column + step % kSlices * Shape::kKeyDims);
    } else {
      constexpr int kSlices = kSplit / Shape::kValueSlice;
      step -= Shape::kKeySteps;
      CopyRows<Shape::kValueSlice, Shape::kValueDims, Shape::kThreads>(
          to, a_.v, keys + step % kSlices * Shape::kValueSlice,
          column + step / kSlices * Shape::kValueDims);
    }
    CommitCopies();
  }
  // What a step works on, when it is there.
  __device__ const uint16_t* Await(int step) {
    WaitForCopies<Shape::kStages - 2>();
    __syncthreads();  // for all threads; and the stage of the step before is free
    // Where the keys of the split before were. Needed from the last steps on.
    if (step == 0) FindKeys(split_ + 1);
    const int stage = stage_;
    Copy(split_, step + Shape::kStages - 1, stage == 0 ? Shape::kStages - 1 : stage - 1);
    stage_ = stage + 1 == Shape::kStages ? 0 : stage + 1;
    return tile_.stages[stage];
  }

  __device__ void AddScores(float (&scores)[Shape::kKeyParts][2][Shape::kKeyTiles][4]) {
    constexpr int kPitch = kPitchOf<Shape::kKeyDims>, kSlices = kDim / Shape::kKeyDims;
#pragma unroll
    for (int part = 0; part < Shape::kKeyParts; ++part) {
      for (int slice = 0; slice < kSlices; ++slice) {
        const uint16_t* keys =
            Await(part * kSlices + slice) + Across() * Shape::kKeyTiles * 8 * kPitch;
        const uint16_t* q = &tile_.q[Query()][slice * Shape::kKeyDims];
#pragma unroll
        for (int d = 0; d < Shape::kKeyDims; d += 16) {
          OperandA of_q[2];
#pragma unroll
          for (int i = 0; i < 2; ++i)
            LoadA<kPitchOf<kDim>>(of_q[i], q + 16 * i * kPitchOf<kDim> + d);
#pragma unroll
          for (int n = 0; n < Shape::kKeyTiles; n += 2) {
            const OperandB of_keys = LoadTransposedB<kPitch>(keys + 8 * n * kPitch + d);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              MmaF16(scores[part][i][n], of_q[i], of_keys.of[0]);
              MmaF16(scores[part][i][n + 1], of_q[i], of_keys.of[1]);
            }
          }
        }
      }
    }
  }

  // The place in the split of the key of scores[part][][n][e].
  static __device__ int KeyOf(int part, int n, int e) {
    return part * Shape::kKeySlice + (Across() * Shape::kKeyTiles + n) * 8 + 2 * T() + e % 2;
  }

  // Leaves the weights in shared memory, and what they are merged with in factors_.
  __device__ void StoreWeights(float (&scores)[Shape::kKeyParts][2][Shape::kKeyTiles][4]) {
    float tops[2][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        tops[i][j] = Mask(scores, i, j);
        for (int lanes = 1; lanes < 4; lanes *= 2) {
          tops[i][j] = fmaxf(tops[i][j], __shfl_xor_sync(~0u, tops[i][j], lanes));
        }
        if (T() == 0) tile_.tops[Across()][QueryOf(i, j)] = tops[i][j];
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int query = QueryOf(i, j);
        for (int w = 0; w < Shape::kWarpsAcross; ++w) {
          tops[i][j] = fmaxf(tops[i][j], tile_.tops[w][query]);
        }
        float top = tile_.tops_so_far[split_ % 2][query];
        factors_[i][j] = MergeTop(top, tops[i][j]);
        if (KeepsSums()) tile_.tops_so_far[(split_ + 1) % 2][query] = top;
#pragma unroll
        for (int part = 0; part < Shape::kKeyParts; ++part) {
#pragma unroll
          for (int n = 0; n < Shape::kKeyTiles; ++n) {
            const float* of = &scores[part][i][n][2 * j];
            tile_.weights[query][KeyOf(part, n, 0) / 2] =
                PackHalf(WeightOf(of[0], tops[i][j]), WeightOf(of[1], tops[i][j]));
          }
        }
      }
    }
  }
  // Takes out what a query does not see; the largest of what is left.
  __device__ float Mask(float (&scores)[Shape::kKeyParts][2][Shape::kKeyTiles][4], int i, int j) {
    const int last = LastOf(i, j), before = kSplit == kFullSplit ? -1 : last - a_.window;
    float top = -INFINITY;
#pragma unroll
    for (int part = 0; part < Shape::kKeyParts; ++part) {
#pragma unroll
      for (int n = 0; n < Shape::kKeyTiles; ++n) {
#pragma unroll
        for (int e = 2 * j; e < 2 * j + 2; ++e) {
          const int key = split_ * kSplit + KeyOf(part, n, e);
          float& score = scores[part][i][n][e];
          if (key > last || key <= before) score = -INFINITY;
          top = fmaxf(top, score);
        }
      }
    }
    return top;
  }
  // Whether this thread keeps the maxima and sums of its queries.
  static __device__ bool KeepsSums() { return Across() == 0 && T() == 0; }
  // Whether a query sees any key of the split.
  __device__ bool Sees(int i, int j) const {
    const int first = split_ * kSplit, last = LastOf(i, j);
    return first <= last && (kSplit == kFullSplit || first + kSplit > last - a_.window + 1);
  }

  __device__ void AddValues() {
    constexpr int kSlices = kSplit / Shape::kValueSlice;
#pragma unroll
    for (int part = 0; part < Shape::kDimParts; ++part) {
      float added[2][Shape::kDimTiles][4] = {}, sums[2][4] = {};
      for (int slice = 0; slice < kSlices; ++slice) {
        const uint16_t* values = Await(Shape::kKeySteps + part * kSlices + slice);
        AddSlice(values, slice * Shape::kValueSlice, part == 0 && Across() == 0, added, sums);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const Factors& f = factors_[i][e / 2];
          if (!Sees(i, e / 2)) continue;  // not even a zero is added
          if (part == 0 && e % 2 == 0 && KeepsSums()) {
            float& sum = tile_.sums_so_far[QueryOf(i, e / 2)];
            sum = Merged(sum, sums[i][e], f);
          }
#pragma unroll
          for (int n = 0; n < Shape::kDimTiles; ++n) {
            float& value = values_[part][i][n][e];
            value = Merged(value, added[i][n][e], f);
          }
        }
      }
    }
  }
  // Of the values of 64 keys from `key` of the split on; sums: their weights', if asked for.
  __device__ void AddSlice(const uint16_t* values, int key, bool sum,
                           float (&added)[2][Shape::kDimTiles][4], float (&sums)[2][4]) {
    constexpr int kPitch = kPitchOf<Shape::kValueDims>;
    values += Across() * Shape::kDimTiles * 8;
#pragma unroll
    for (int k = 0; k < Shape::kValueSlice; k += 16) {
      OperandA weights[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        LoadA<kPitchOf<kSplit>>(
            weights[i],
            reinterpret_cast<const uint16_t*>(tile_.weights[Query() + 16 * i]) + key + k);
        if (sum) MmaF16(sums[i], weights[i], {kOnes, kOnes});
      }
#pragma unroll
      for (int n = 0; n < Shape::kDimTiles; n += 2) {
        const OperandB of_values = LoadB<kPitch>(values + k * kPitch + 8 * n);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          MmaF16(added[i][n], weights[i], of_values.of[0]);
          MmaF16(added[i][n + 1], weights[i], of_values.of[1]);
        }
      }
    }
  }

  __device__ void Store() {
    __syncthreads();  // all sums are there
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int query = QueryOf(i, j);
        if (LastOf(i, j) < 0) continue;
        const int row = tile_.row + query / a_.group, column = Column(query) + 2 * T();
#pragma unroll
        for (int part = 0; part < Shape::kDimParts; ++part) {
#pragma unroll
          for (int n = 0; n < Shape::kDimTiles; ++n) {
            const int dim = part * Shape::kValueDims + (Across() * Shape::kDimTiles + n) * 8;
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              a_.y.Store(row, column + dim + e,
                         values_[part][i][n][2 * j + e] / tile_.sums_so_far[query]);
            }
          }
        }
      }
    }
  }

  const CacheAttention& a_;
  Tile& tile_;
  int split_;
  int stage_ = 0;  // that is used next
  Factors factors_[2][2];
  float values_[Shape::kDimParts][2][Shape::kDimTiles][4] = {};
};

template <int kDim, int kSplit>
__global__ void __launch_bounds__(PromptShape<kDim, kSplit>::kThreads, kSplit == kFullSplit ? 1 : 2)
    PromptAttention(CacheAttention a) {
  WaitForPrevious();
  auto& tile = Shared<PromptTile<kDim, kSplit>>();
  // Late rows see the most, and begin first. What lasts longer than a tile is in shared memory, as
  // a tile needs all registers.
  for (int item = blockIdx.y;; item = tile.item + gridDim.y) {
    const int last = a.q.rows - 1;
    const Place place =
        FindPart(item, a.q.rows, [&](int row) { return a.StartsTile(last - row) ? 1 : 0; });
    if (place.row < 0) return;
    const int first = last - place.row, last_seen = a.LastOfTile(first);
    __syncthreads();  // nobody is at the tile before any more
    if (threadIdx.x == 0) {
      tile.item = item;
      tile.row = first;
      tile.last = last_seen;
    }
    __syncthreads();
    PromptBlock<kDim, kSplit>(a).Run();
  }
}

}  // namespace

cudaError_t LaunchPromptAttention(cudaStream_t stream, const AttentionCall& call) {
  const dim3 blocks(call.spec.kv_heads, PromptBlocks(call));
  if (blocks.y == 0) return cudaSuccess;
  return WithHead(call.spec, [&]<int kDim, int kSplit>() {
    return Launch(stream, blocks, dim3(PromptShape<kDim, kSplit>::kThreads),
                  sizeof(PromptTile<kDim, kSplit>), PromptAttention<kDim, kSplit>, ViewOf(call));
  });
}

}  // namespace softsplice::cuda
