// Attention of decode rows: q [rows, heads * dim] float32, the cache float16. A block takes one
// row, one KV head and one split of its keys (softmax.h); the last block of a row and head that is
// done merges the splits in order. Reads each key and value once, for all query heads of the group:
// 2 kDim numbers of 2 bytes a position.
//
// Keys and V^T are the 16 rows of the tensor core's first operand, query heads the 8 columns of the
// second. A warp has keys of its own for the scores and dims of its own for the values, so each
// copies what it works on itself, some steps ahead: slices of dims of its keys, then slices of keys
// of its dims. Warps meet for the query and for the weights only.
#include <algorithm>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/fragments.h"
#include "kernels/cuda/softmax.h"

namespace softsplice::cuda {
namespace {

// A row of more splits is not prefetched: of heads of 512 numbers 16 are 17 MB, and an L2 of 50 MB
// would lose some before they are used.
constexpr int kPrefetchedSplits = 16;

template <int kDim, int kSplit>
struct DecodeShape {
  static constexpr int kWarps = kSplit == kFullSplit ? 8 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kKeyTiles = kSplit / 16 / kWarps;                              // of a warp
  static constexpr int kDimTiles = (kDim / 16 + kWarps - 1) / kWarps;                 // of a warp
  static constexpr int kKeys = 16 * kKeyTiles;                                        // of a warp
  static constexpr int kDims = 16 * kDimTiles;                                        // of a warp
  static constexpr int kSliceDims = std::min(kDim, kSplit == kFullSplit ? 64 : 128);  // of keys
  static constexpr int kSliceKeys = 32;                                               // of values
  static constexpr int kKeySteps = kDim / kSliceDims;
  static constexpr int kSteps = kKeySteps + kSplit / kSliceKeys;
  static constexpr int kStages = std::min(kSteps, kSplit == kFullSplit ? 3 : 4);
  static constexpr int kAhead = kStages < kSteps ? kStages - 1 : kSteps;  // steps begun at once
  static constexpr int kStageNumbers = std::max(kKeys * kSliceDims, kSliceKeys* kDims);
  static constexpr int kMerged = kSplit == kFullSplit ? 8 : 9;  // splits at once; 9: a window
};

// Splits to be merged; each thread copies what it reads itself.
template <int kSplits, int kThreads>
struct MergeStage {
  float4 values[kSplits][kThreads];
  float2 stats[kSplits][kThreads];
};

template <int kDim, int kSplit>
struct DecodeTile {
  using Shape = DecodeShape<kDim, kSplit>;
  union {
    alignas(128) uint16_t stages[Shape::kWarps][Shape::kStages][Shape::kStageNumbers];
    MergeStage<Shape::kMerged, Shape::kThreads> merged[2];
  };
  alignas(16) uint16_t q[kMostGroup][kPitchOf<kDim>];
  alignas(16) uint16_t weights[kMostGroup][kPitchOf<kSplit>];
  float tops[Shape::kWarps][kMostGroup];
  int keys[kSplit];  // rows of the cache; where a key is not seen, one that is
  bool is_last;
};
static_assert(2 * sizeof(DecodeTile<512, kFullSplit>) <= kSharedOfMultiprocessor);
static_assert(3 * sizeof(DecodeTile<256, kSlidingSplit>) <= kSharedOfMultiprocessor);

// Where number `column`, a multiple of 8, of a row lies in a stage whose rows have kColumns: the 16
// bytes from there on are in other banks than those of the seven rows beside it.
template <int kColumns>
__device__ int PlaceOf(int row, int column) {
  constexpr int kPieces = kColumns / 8, kRows = kPieces < 8 ? 8 / kPieces : 1;
  return row * kColumns + (column / 8 ^ row / kRows % (8 / kRows)) * 8;
}

// By a warp: begins to copy kColumns numbers from `column` on of the rows at `rows`.
template <int kRows, int kColumns>
__device__ void CopyStage(uint16_t* to, const View<const uint16_t>& from, const int* rows,
                          int column) {
  constexpr int kPieces = kColumns / 8, kRowsAtOnce = 32 / kPieces;
  constexpr int kCopies = kRows / kRowsAtOnce;  // of a lane
  const int lane = threadIdx.x % 32, first = lane / kPieces, c = lane % kPieces * 8;
  const auto* bytes = reinterpret_cast<const unsigned char*>(from.data + column + c);
  const uint32_t pitch = static_cast<uint32_t>(from.pitch * sizeof(uint16_t));
  uint32_t of[kCopies];  // all are there before the first copy
#pragma unroll
  for (int i = 0; i < kCopies; ++i) of[i] = rows[first + i * kRowsAtOnce];
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    CopyAsync(to + PlaceOf<kColumns>(first + i * kRowsAtOnce, c), bytes + uint64_t{of[i]} * pitch);
  }
}

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
    // Keys of the item before are looked up until its last values are on their way.
    if constexpr (Shape::kAhead < Shape::kSteps) __syncthreads();
    const int sequence = *a_.sequences.Row(row_);
    static_assert(kSplit <= Shape::kThreads);
    if (const int i = threadIdx.x; i < kSplit) {
      const int position = min(max(split_ * kSplit + i, seen_.first), seen_.last);
      const int key = a_.pages.RowOf(sequence, position);
      tile_.keys[i] = key;
      if (splits_ <= kPrefetchedSplits) {
        Prefetch(key, Sees(i) && i * a_.kv_heads / kSplit == kv_head_);
      }
    }
    __syncthreads();
  }

  __device__ void Run() {
    for (int step = 0; step < Shape::kAhead; ++step) Copy(step);
    LoadQuery();
    __syncthreads();
    float scores[Shape::kKeyTiles][4] = {};
    AddScores(scores);
    float tops[2];
    StoreWeights(scores, tops);
    __syncthreads();
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
  static __device__ int FirstDim() { return Warp() * Shape::kDims; }
  static __device__ bool HasDims() {
    return Shape::kWarps * Shape::kDims <= kDim || FirstDim() < kDim;
  }

  // Whether the row sees key i of the split.
  __device__ bool Sees(int i) const {
    const int position = split_ * kSplit + i;
    return position >= seen_.first && position <= seen_.last;
  }

  // By a warp, each lane with a key: those that are `due` are prefetched, with all heads' numbers,
  // as each head's block does it for its share of them. Keys that lie in a row go together: lanes
  // take turns at a prefetch.
  __device__ void Prefetch(int key, bool due) {
    const int lane = threadIdx.x % 32;
    const bool goes_on = __shfl_up_sync(~0u, key, 1) + 1 == key && lane > 0;
    const unsigned live = __ballot_sync(~0u, due);
    const unsigned joined = __ballot_sync(~0u, goes_on) & live & live << 1;
    if (((live & ~joined) >> lane & 1) == 0) return;
    const unsigned others = ~joined >> lane & ~1u;  // where the run that begins here has ended
    const int count = others == 0 ? 32 - lane : __ffs(others) - 1;
    for (const View<const uint16_t>* rows : {&a_.k, &a_.v}) {
      PrefetchL2(rows->Row(key), ((count - 1) * rows->pitch + rows->cols) * sizeof(uint16_t));
    }
  }

  __device__ void LoadQuery() {
    constexpr int kNumbers = kMostGroup * kDim / Shape::kThreads;  // of a thread
    const float* from = a_.q.Row(row_) + kv_head_ * a_.group * kDim;
    float numbers[kNumbers];
#pragma unroll
    for (int j = 0; j < kNumbers; ++j) {
      const int i = threadIdx.x + j * Shape::kThreads;
      numbers[j] = i < a_.group * kDim ? from[i] : 0;
    }
#pragma unroll
    for (int j = 0; j < kNumbers; ++j) {
      const int i = threadIdx.x + j * Shape::kThreads;
      tile_.q[i / kDim][i % kDim] = FloatToHalf(numbers[j]);
    }
  }

  // Begins to copy what the warp works on in a step: a slice of its keys' dims, or a slice of its
  // dims' values.
  __device__ void Copy(int step) {
    uint16_t* to = tile_.stages[Warp()][step % Shape::kStages];
    const int column = kv_head_ * kDim;
    if (step < Shape::kKeySteps) {
      CopyStage<Shape::kKeys, Shape::kSliceDims>(to, a_.k, tile_.keys + Warp() * Shape::kKeys,
                                                 column + step * Shape::kSliceDims);
    } else if (step < Shape::kSteps && HasDims()) {
      const int* keys = tile_.keys + (step - Shape::kKeySteps) * Shape::kSliceKeys;
      CopyStage<Shape::kSliceKeys, Shape::kDims>(to, a_.v, keys, column + FirstDim());
    }
    CommitCopies();
  }
  // What the warp works on in a step, when it is there.
  __device__ const uint16_t* Await(int step) {
    WaitForCopies<Shape::kAhead - 1>();
    __syncwarp();  // for all lanes; and none is at the step before any more
    Copy(step + Shape::kAhead);
    return tile_.stages[Warp()][step % Shape::kStages];
  }

  // Scores of the warp's keys (rows) for all heads (columns).
  __device__ void AddScores(float (&scores)[Shape::kKeyTiles][4]) {
    const int lane = threadIdx.x % 32;
    for (int step = 0; step < Shape::kKeySteps; ++step) {
      const uint16_t* keys = Await(step);
      const uint16_t* q = &tile_.q[lane % 8][step * Shape::kSliceDims + lane / 8 * 8];
#pragma unroll
      for (int d = 0; d < Shape::kSliceDims; d += 32) {
        uint32_t of_q[4];
        LoadMatrix(of_q, q + d);
        const uint32_t heads[2][2] = {{of_q[0], of_q[1]}, {of_q[2], of_q[3]}};
        for (int half = 0; half < 2; ++half) {
          for (int i = 0; i < Shape::kKeyTiles; ++i) {
            OperandA of_keys;
            LoadMatrix(of_keys, keys + PlaceOf<Shape::kSliceDims>(i * 16 + lane % 16,
                                                                  d + 16 * half + lane / 16 * 8));
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
        if (!Sees(KeyOf(i, e))) scores[i][e] = -INFINITY;
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
    const int lane = threadIdx.x % 32;
#pragma unroll 2  // more is more than registers hold
    for (int step = Shape::kKeySteps; step < Shape::kSteps; ++step) {
      const uint16_t* of_keys = Await(step);
      const int key = (step - Shape::kKeySteps) * Shape::kSliceKeys;
      uint32_t of_weights[4];
      LoadMatrix(of_weights, &tile_.weights[lane % 8][key + lane / 8 * 8]);
      const uint32_t weights[2][2] = {{of_weights[0], of_weights[1]},
                                      {of_weights[2], of_weights[3]}};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        MmaF16(sums, {kOnes, kOnes, kOnes, kOnes}, weights[half]);
        for (int i = 0; i < Shape::kDimTiles && HasDims(); ++i) {
          OperandA of_values;
          LoadMatrixTransposed(of_values,
                               of_keys + PlaceOf<Shape::kDims>(16 * half + lane % 8 + lane / 16 * 8,
                                                               16 * i + lane / 8 % 2 * 8));
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
    __syncthreads();
    if (threadIdx.x == 0) tile_.is_last = CountUp(counter_) + 1 == static_cast<unsigned>(splits_);
    __syncthreads();
    return tile_.is_last;
  }

  // What a thread merges next: four dims of a head, of some splits.
  struct Part {
    int number, first_split;  // number: of the first dim's result, as StoreResult() takes it
  };
  __device__ Part After(const Part& part) {
    const int next = part.first_split + Shape::kMerged;
    return next < splits_ ? Part{part.number, next} : Part{part.number + 4 * Shape::kThreads, 0};
  }
  __device__ void CopyPart(const Part& part, int stage) {
    auto& to = tile_.merged[stage];
    const int head = part.number / kDim, first = part.first_split;
    const float* from = Partial(first - split_ + seen_.first / kSplit, head);
#pragma unroll
    for (int i = 0; i < Shape::kMerged; ++i) {
      if (part.number >= a_.group * kDim || first + i >= splits_) continue;
      CopyAsync(&to.values[i][threadIdx.x], from + part.number % kDim);
      CopyAsync<8>(&to.stats[i][threadIdx.x], from + kDim);
      from += a_.kv_heads * a_.group * kPartial;
    }
    CommitCopies();
  }

  __device__ void Merge() {
    if (threadIdx.x == 0) *counter_ = 0;
    Part part{4 * static_cast<int>(threadIdx.x), 0};
    CopyPart(part, 0);
    float top = -INFINITY, sum = 0, values[4] = {};
    for (int stage = 0; part.number < a_.group * kDim; stage ^= 1) {
      const Part next = After(part);
      CopyPart(next, stage ^ 1);
      WaitForCopies<1>();
      const auto& merged = tile_.merged[stage];
#pragma unroll
      for (int i = 0; i < Shape::kMerged; ++i) {
        if (part.first_split + i >= splits_) continue;
        const float4 added = merged.values[i][threadIdx.x];
        const float2 stats = merged.stats[i][threadIdx.x];
        const Factors f = MergeTop(top, stats.x);
        sum = Merged(sum, stats.y, f);
        values[0] = Merged(values[0], added.x, f);
        values[1] = Merged(values[1], added.y, f);
        values[2] = Merged(values[2], added.z, f);
        values[3] = Merged(values[3], added.w, f);
      }
      if (next.first_split == 0) {
        for (int j = 0; j < 4; ++j) StoreResult(part.number + j, values[j] / sum);
        top = -INFINITY, sum = values[0] = values[1] = values[2] = values[3] = 0;
      }
      part = next;
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
    const Seen seen = a.SeenBy(row);
    return a.IsAlone(row) ? seen.last / kSplit - seen.first / kSplit + 1 : 0;
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
