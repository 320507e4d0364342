// Attention of decode rows: q [rows, heads * dim] float32, the cache float16. A block takes one
// row, one KV head and one split of its keys (softmax.h); the last block of a row and head that is
// done merges the splits in order. Reads each key and value once, for all query heads of the group:
// 2 kDim numbers of 2 bytes a position.
//
// Keys and V^T are the 16 rows of the tensor core's first operand, query heads the 8 columns of the
// second. Scores: a warp has keys of its own, and keys arrive in slices of dims; values: a warp has
// dims of its own, and values arrive 32 keys at a time.
#include <algorithm>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/fragments.h"
#include "kernels/cuda/softmax.h"

namespace softsplice::cuda {
namespace {

template <int kDim, int kSplit>
struct DecodeShape {
  static constexpr int kWarps = kSplit == kFullSplit ? 8 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kKeyTiles = kSplit / 16 / kWarps;                              // of a warp
  static constexpr int kDimTiles = (kDim / 16 + kWarps - 1) / kWarps;                 // of a warp
  static constexpr int kSliceDims = std::min(kDim, kSplit == kFullSplit ? 64 : 128);  // of keys
  static constexpr int kSliceKeys = 32;                                               // of values
  static constexpr int kKeySteps = kDim / kSliceDims;
  static constexpr int kSteps = kKeySteps + kSplit / kSliceKeys;
  static constexpr int kStages = kDim > 256 ? 2 : 3;
  static constexpr int kStageNumbers =
      std::max(kSplit * kPitchOf<kSliceDims>, kSliceKeys* kPitchOf<kDim>);
};

template <int kDim, int kSplit>
struct DecodeTile {
  using Shape = DecodeShape<kDim, kSplit>;
  alignas(16) uint16_t stages[Shape::kStages][Shape::kStageNumbers];
  alignas(16) uint16_t q[kMostGroup][kPitchOf<kDim>];
  alignas(16) uint16_t weights[kMostGroup][kPitchOf<kSplit>];
  float tops[Shape::kWarps][kMostGroup];
  int keys[kSplit];
  bool is_last;
};
static_assert(2 * sizeof(DecodeTile<512, kFullSplit>) <= kSharedOfMultiprocessor);
static_assert(3 * sizeof(DecodeTile<256, kSlidingSplit>) <= kSharedOfMultiprocessor);

// One row, KV head and split.
template <int kDim, int kSplit>
class DecodeBlock {
 public:
  using Shape = DecodeShape<kDim, kSplit>;
  using Tile = DecodeTile<kDim, kSplit>;

  __device__ DecodeBlock(const CacheAttention& given, const AttentionScratch& scratch, int row,
                         int kv_head, int split, int item)
      : a_(given),
        tile_(Shared<Tile>()),
        row_(row),
        kv_head_(kv_head),
        seen_(given.SeenBy(row)),
        split_(seen_.first / kSplit + split),
        splits_(seen_.last / kSplit - seen_.first / kSplit + 1),
        partials_(scratch.partials + static_cast<size_t>(item) * given.group * kPartial),
        counter_(scratch.counters + row * given.kv_heads + kv_head) {}

  // Before Run(), and before the kernel waits: the L2 may as well have the keys and values by then.
  __device__ void FindKeys() {
    const int sequence = *a_.sequences.Row(row_);
    for (int i = threadIdx.x; i < kSplit; i += Shape::kThreads) {
      const int key = a_.KeyRow(sequence, split_ * kSplit + i, seen_);
      tile_.keys[i] = key;
      if (key < 0) continue;
      for (const View<const uint16_t>* rows : {&a_.k, &a_.v}) {
        PrefetchL2(rows->Row(key) + kv_head_ * kDim, kDim * sizeof(uint16_t));
      }
    }
  }

  __device__ void Run() {
    __syncthreads();  // the keys are found; and nobody is at the item before any more
    for (int step = 0; step < Shape::kStages - 1; ++step) Copy(step);
    LoadQuery();  // for all threads once the first step is there
    float scores[Shape::kKeyTiles][4] = {};
    AddScores(scores);
    float tops[2];
    StoreWeights(scores, tops);
    float values[Shape::kDimTiles][4] = {}, sums[4] = {};
    AddValues(values, sums);
    if (splits_ == 1) {
      Store(tops, values, sums);
      return;
    }
    StorePartial(tops, values, sums);
    if (IsLast()) Merge();
  }

 private:
  static constexpr int kPartial = kDim + kPartialStats;

  static __device__ int Warp() { return threadIdx.x / 32; }
  static __device__ int G() { return threadIdx.x % 32 / 4; }
  static __device__ int T() { return threadIdx.x % 4; }

  __device__ void LoadQuery() {
    for (int i = threadIdx.x; i < kMostGroup * kDim; i += Shape::kThreads) {
      const int head = i / kDim, d = i % kDim;
      const float* from = a_.q.Row(row_) + (kv_head_ * a_.group + head) * kDim;
      tile_.q[head][d] = head < a_.group ? FloatToHalf(from[d]) : 0;
    }
  }

  // Begins to copy what a step works on: a slice of the keys' dims, or a slice of the values.
  __device__ void Copy(int step) {
    uint16_t* to = tile_.stages[step % Shape::kStages];
    const int column = kv_head_ * kDim;
    if (step < Shape::kKeySteps) {
      CopyRows<kSplit, Shape::kSliceDims, Shape::kThreads>(to, a_.k, tile_.keys,
                                                           column + step * Shape::kSliceDims);
    } else if (step < Shape::kSteps) {
      const int* keys = tile_.keys + (step - Shape::kKeySteps) * Shape::kSliceKeys;
      CopyRows<Shape::kSliceKeys, kDim, Shape::kThreads>(to, a_.v, keys, column);
    }
    CommitCopies();
  }
  // What a step works on, when it is there.
  __device__ const uint16_t* Await(int step) {
    WaitForCopies<Shape::kStages - 2>();
    __syncthreads();  // for all threads; and the stage of the step before is free
    Copy(step + Shape::kStages - 1);
    return tile_.stages[step % Shape::kStages];
  }

  // Scores of the warp's keys (rows) for all heads (columns).
  __device__ void AddScores(float (&scores)[Shape::kKeyTiles][4]) {
    constexpr int kPitch = kPitchOf<Shape::kSliceDims>;
    const int lane = threadIdx.x % 32;
    for (int step = 0; step < Shape::kKeySteps; ++step) {
      const uint16_t* keys = Await(step) + Warp() * Shape::kKeyTiles * 16 * kPitch;
      const uint16_t* q = &tile_.q[lane % 8][step * Shape::kSliceDims + lane / 8 * 8];
#pragma unroll
      for (int d = 0; d < Shape::kSliceDims; d += 32) {
        uint32_t of_q[4];
        LoadMatrix(of_q, q + d);
        const uint32_t heads[2][2] = {{of_q[0], of_q[1]}, {of_q[2], of_q[3]}};
        for (int half = 0; half < 2; ++half) {
          for (int i = 0; i < Shape::kKeyTiles; ++i) {
            OperandA of_keys;
            LoadA<kPitch>(of_keys, keys + i * 16 * kPitch + d + 16 * half);
            MmaF16(scores[i], of_keys, heads[half]);
          }
        }
      }
    }
  }

  // The place in the split of the key of scores[i][e].
  static __device__ int KeyOf(int i, int e) {
    return (Warp() * Shape::kKeyTiles + i) * 16 + G() + e / 2 * 8;
  }

  // Leaves the weights in shared memory, and the maxima of heads 2t and 2t + 1 in `tops`.
  __device__ void StoreWeights(float (&scores)[Shape::kKeyTiles][4], float (&tops)[2]) {
    tops[0] = tops[1] = -INFINITY;
    for (int i = 0; i < Shape::kKeyTiles; ++i) {
      for (int e = 0; e < 4; ++e) {
        if (tile_.keys[KeyOf(i, e)] < 0) scores[i][e] = -INFINITY;
        tops[e % 2] = fmaxf(tops[e % 2], scores[i][e]);
      }
    }
    for (int j = 0; j < 2; ++j) {
      for (int lanes = 4; lanes < 32; lanes *= 2) {
        tops[j] = fmaxf(tops[j], __shfl_xor_sync(~0u, tops[j], lanes));
      }
      if (G() == 0) tile_.tops[Warp()][2 * T() + j] = tops[j];
    }
    __syncthreads();
    for (int warp = 0; warp < Shape::kWarps; ++warp) {
      for (int j = 0; j < 2; ++j) tops[j] = fmaxf(tops[j], tile_.tops[warp][2 * T() + j]);
    }
    for (int i = 0; i < Shape::kKeyTiles; ++i) {
      for (int e = 0; e < 4; ++e) {
        const float weight = WeightOf(scores[i][e], tops[e % 2]);
        tile_.weights[2 * T() + e % 2][KeyOf(i, e)] = FloatToHalf(weight);
      }
    }
  }

  // Values of the warp's dims (rows) for all heads (columns), and the sums of weights in each row.
  __device__ void AddValues(float (&values)[Shape::kDimTiles][4], float (&sums)[4]) {
    constexpr int kPitch = kPitchOf<kDim>;
    const int lane = threadIdx.x % 32, first = Warp() * Shape::kDimTiles * 16;
    for (int step = Shape::kKeySteps; step < Shape::kSteps; ++step) {
      const uint16_t* of_keys = Await(step) + first;
      const int key = (step - Shape::kKeySteps) * Shape::kSliceKeys;
      uint32_t of_weights[4];
      LoadMatrix(of_weights, &tile_.weights[lane % 8][key + lane / 8 * 8]);
      const uint32_t weights[2][2] = {{of_weights[0], of_weights[1]},
                                      {of_weights[2], of_weights[3]}};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        MmaF16(sums, {kOnes, kOnes, kOnes, kOnes}, weights[half]);
        for (int i = 0; i < Shape::kDimTiles && first < kDim; ++i) {
          OperandA of_values;
          LoadTransposedA<kPitch>(of_values, of_keys + half * 16 * kPitch + 16 * i);
          MmaF16(values[i], of_values, weights[half]);
        }
      }
    }
  }

  // Calls to(head, dim, value, j) for each number of the result; j: whether it is head 2t + 1.
  template <class To>
  __device__ void ForEach(const float (&values)[Shape::kDimTiles][4], To to) {
    for (int i = 0; i < Shape::kDimTiles; ++i) {
      for (int e = 0; e < 4; ++e) {
        const int head = 2 * T() + e % 2;
        const int dim = (Warp() * Shape::kDimTiles + i) * 16 + G() + e / 2 * 8;
        if (head < a_.group && dim < kDim) to(head, dim, values[i][e], e % 2);
      }
    }
  }
  // i: of head i / kDim of the group.
  __device__ void StoreResult(int i, float value) {
    a_.y.Store(row_, kv_head_ * a_.group * kDim + i, value);
  }

  // The only split, merged with nothing.
  __device__ void Store(const float (&tops)[2], const float (&values)[Shape::kDimTiles][4],
                        const float (&sums)[4]) {
    ForEach(values, [&](int head, int dim, float value, int j) {
      float top = -INFINITY;
      const Factors f = MergeTop(top, tops[j]);
      StoreResult(head * kDim + dim, Merged(0, value, f) / Merged(0, sums[j], f));
    });
  }

  __device__ float* Partial(int split, int head) {
    return partials_ + (split * a_.kv_heads * a_.group + head) * kPartial;
  }
  __device__ void StorePartial(const float (&tops)[2], const float (&values)[Shape::kDimTiles][4],
                               const float (&sums)[4]) {
    ForEach(values, [&](int head, int dim, float value, int j) {
      float* to = Partial(0, head);
      to[dim] = value;
      if (dim == 0) {
        to[kDim] = tops[j];
        to[kDim + 1] = sums[j];
      }
    });
  }

  // Whether all other splits of this row and head are done, and to be seen.
  __device__ bool IsLast() {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      tile_.is_last = atomicAdd(counter_, 1) + 1 == static_cast<unsigned>(splits_);
      __threadfence();
    }
    __syncthreads();
    return tile_.is_last;
  }

  __device__ void Merge() {
    if (threadIdx.x == 0) *counter_ = 0;
    const int own = split_ - seen_.first / kSplit;
    for (int i = 4 * threadIdx.x; i < a_.group * kDim; i += 4 * Shape::kThreads) {
      const int head = i / kDim, dim = i % kDim;
      float top = -INFINITY, sum = 0, values[4] = {};
#pragma unroll 8
      for (int split = 0; split < splits_; ++split) {
        const float* from = Partial(split - own, head);
        const float4 next = __ldcg(reinterpret_cast<const float4*>(from + dim));
        const Factors f = MergeTop(top, __ldcg(from + kDim));
        sum = Merged(sum, __ldcg(from + kDim + 1), f);
        values[0] = Merged(values[0], next.x, f);
        values[1] = Merged(values[1], next.y, f);
        values[2] = Merged(values[2], next.z, f);
        values[3] = Merged(values[3], next.w, f);
      }
      for (int j = 0; j < 4; ++j) StoreResult(i + j, values[j] / sum);
    }
  }

  const CacheAttention& a_;
  Tile& tile_;
  const int row_, kv_head_;
  const Seen seen_;
  const int split_, splits_;
  float* partials_;  // of this item
  unsigned* counter_;
};

template <int kDim, int kSplit>
__global__ void __launch_bounds__(DecodeShape<kDim, kSplit>::kThreads, 2)
    DecodeAttention(CacheAttention a, AttentionScratch scratch) {
  const auto splits = [&](int row) {
    if (!a.IsAlone(row)) return 0;
    const Seen seen = a.SeenBy(row);
    return seen.last / kSplit - seen.first / kSplit + 1;
  };
  for (int item = blockIdx.x;; item += gridDim.x) {
    const Place place = FindPart(item / a.kv_heads, a.q.rows, splits);
    if (place.row < 0) return WaitForPrevious();
    DecodeBlock<kDim, kSplit> block(a, scratch, place.row, item % a.kv_heads, place.part, item);
    block.FindKeys();
    WaitForPrevious();
    block.Run();
  }
}

}  // namespace

cudaError_t LaunchDecodeAttention(cudaStream_t stream, const AttentionCall& call,
                                  const AttentionScratch& scratch, int multiprocessors) {
  return WithHead(call.spec, [&]<int kDim, int kSplit>() {
    return Launch(stream, dim3(DecodeBlocks(call, multiprocessors)),
                  dim3(DecodeShape<kDim, kSplit>::kThreads), sizeof(DecodeTile<kDim, kSplit>),
                  DecodeAttention<kDim, kSplit>, ViewOf(call), scratch);
  });
}

}  // namespace softsplice::cuda
