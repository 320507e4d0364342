// The best logits of a row in two kernels. A block sorts one piece of the row (bitonic, in shared
// memory) and keeps the best; then a block for each row merges the pieces' lists, four at a time.
// The logits are read once, 1 MB a row; what is kept of them is an eighth of it at most.
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/top_logits.h"
#include "kernels/cuda/view.h"
#include "kernels/specs.h"

namespace softsplice::cuda {
namespace {

constexpr int kPiece = 4096;  // logits that a block sorts
constexpr int kSortThreads = 1024;
constexpr int kKept = kMostTopLogits;  // of each piece
constexpr int kLists = 4;              // that are merged side by side, each by kKept threads

__device__ bool IsFinite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Orders as (logit, then the smaller id) do. No logit's is 0, which stands for none.
__device__ uint64_t KeyOf(float logit, int id) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // -0 is 0
  const uint32_t ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | ~static_cast<uint32_t>(id);
}
__device__ int IdOf(uint64_t key) { return static_cast<int>(~static_cast<uint32_t>(key)); }
__device__ float LogitOf(uint64_t key) {
  const uint32_t ordered = static_cast<uint32_t>(key >> 32);
  return __uint_as_float(ordered >> 31 != 0 ? ordered & 0x7fffffffu : ~ordered);
}

// Puts the larger of a pair first, or last.
__device__ void Order(uint64_t& a, uint64_t& b, bool larger_first) {
  if ((a < b) != larger_first) return;
  const uint64_t kept = a;
  a = b;
  b = kept;
}

struct Piece {
  uint64_t keys[kPiece];
  float max[kSortThreads / 32];
  float sum[kSortThreads / 32];
};

// What a piece leaves: its kKept best keys, and one more number of 8 bytes.
struct PieceStats {
  float max, sum;  // of e^(logit - max); NaN where a logit is not finite
};
static_assert(sizeof(PieceStats) == sizeof(uint64_t));
constexpr int kLeft = kKept + 1;

__device__ float BlockMax(float value, float* of_warp) {
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, step));
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  for (int i = 0; i < kSortThreads / 32; ++i) value = fmaxf(value, of_warp[i]);
  return value;
}

__global__ void __launch_bounds__(kSortThreads)
    SortPieces(uint64_t* scratch, View<const float> logits) {
  auto& piece = Shared<Piece>();
  WaitForPrevious();
  const int first = blockIdx.y * kPiece;
  const int count = min(kPiece, logits.cols - first);
  const float* from = logits.Row(blockIdx.x) + first;
  float max = -INFINITY;
  bool finite = true;
  for (int i = threadIdx.x; i < kPiece; i += kSortThreads) {
    const float logit = i < count ? from[i] : 0;
    piece.keys[i] = i < count ? KeyOf(logit, first + i) : 0;
    if (i < count) max = fmaxf(max, logit);
    finite = finite && IsFinite(logit);
  }
  max = BlockMax(max, piece.max);
  float sum = finite ? 0 : NAN;
  for (int i = threadIdx.x; i < count; i += kSortThreads) sum += expf(from[i] - max);
  sum = BlockSum<kSortThreads>(sum, piece.sum);

  for (int size = 2; size <= kPiece; size *= 2) {
    for (int step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int i = threadIdx.x; i < kPiece / 2; i += kSortThreads) {
        const int a = (i & -step) * 2 + (i & (step - 1));
        Order(piece.keys[a], piece.keys[a + step], (a & size) == 0);
      }
    }
  }
  __syncthreads();
  uint64_t* left = scratch + (static_cast<size_t>(blockIdx.x) * gridDim.y + blockIdx.y) * kLeft;
  for (int i = threadIdx.x; i < kKept; i += kSortThreads) left[i] = piece.keys[i];
  if (threadIdx.x == 0) *reinterpret_cast<PieceStats*>(left + kKept) = {max, sum};
}

// Merges lists that stand in order, best first: of two, the kKept best, in order. All threads of
// the block call it, those of a list with `other`, the other one's key number kKept - 1 less their
// own number; `live` ones have a list to merge.
__device__ void MergeInto(uint64_t* best, uint64_t other, bool live) {
  const int i = threadIdx.x % kKept;
  if (live) best[i] = max(best[i], other);
  for (int step = kKept / 2; step > 0; step /= 2) {
    __syncthreads();
    if (live && (i & step) == 0) Order(best[i], best[i + step], true);
  }
  __syncthreads();
}

// Of a row, by one warp: the largest of all logits, and ln(sum(e^logit)).
__device__ void MergeStats(float* stats, const uint64_t* row, int pieces) {
  const int lane = threadIdx.x;
  const auto of = [&](int p) {
    return *reinterpret_cast<const PieceStats*>(row + static_cast<size_t>(p) * kLeft + kKept);
  };
  float max = -INFINITY, sum = 0;
  for (int p = lane; p < pieces; p += 32) max = fmaxf(max, of(p).max);
  for (int step = 16; step > 0; step /= 2) max = fmaxf(max, __shfl_xor_sync(~0u, max, step));
  for (int p = lane; p < pieces; p += 32) sum += of(p).sum * expf(of(p).max - max);
  sum = WarpSum(sum);
  if (lane != 0) return;
  stats[0] = IsFinite(sum) ? max : NAN;
  stats[1] = max + logf(sum);
}

__global__ void __launch_bounds__(kLists* kKept)
    MergePieces(View<int> ids, View<float> values, View<float> stats, const uint64_t* scratch,
                int pieces) {
  auto& lists = Shared<uint64_t[kLists][kKept]>();
  WaitForPrevious();
  const uint64_t* row = scratch + static_cast<size_t>(blockIdx.x) * pieces * kLeft;
  const int list = threadIdx.x / kKept;
  const int i = threadIdx.x % kKept;
  const auto key_of = [&](int piece, int at) {
    return piece < pieces ? row[static_cast<size_t>(piece) * kLeft + at] : 0;
  };
  if (threadIdx.x < 32) MergeStats(stats.Row(blockIdx.x), row, pieces);
  lists[list][i] = key_of(list, i);
  uint64_t next = key_of(kLists + list, kKept - 1 - i);  // on its way while others are merged
  for (int first = kLists; first < pieces; first += kLists) {
    const uint64_t other = next;
    next = key_of(first + kLists + list, kKept - 1 - i);
    MergeInto(lists[list], other, first + list < pieces);
  }
  __syncthreads();
  for (int step = kLists / 2; step > 0; step /= 2) {
    const bool live = list < step;
    MergeInto(lists[list], live ? lists[list + step][kKept - 1 - i] : 0, live);
  }
  for (int c = threadIdx.x; c < ids.cols; c += kLists * kKept) {
    ids.Row(blockIdx.x)[c] = IdOf(lists[0][c]);
    values.Row(blockIdx.x)[c] = LogitOf(lists[0][c]);
  }
}

int PiecesOf(const Mat& logits) { return (logits.cols + kPiece - 1) / kPiece; }

}  // namespace

size_t TopLogitsScratch(const Mat& logits) {
  return static_cast<size_t>(logits.rows) * static_cast<size_t>(PiecesOf(logits)) * kLeft;
}

cudaError_t LaunchTopLogits(cudaStream_t stream, Mat ids, Mat values, Mat stats, Mat logits,
                            uint64_t* scratch) {
  const int pieces = PiecesOf(logits);
  const cudaError_t error = Launch(stream, dim3(logits.rows, pieces), dim3(kSortThreads),
                                   sizeof(Piece), SortPieces, scratch, ViewOf<const float>(logits));
  if (error != cudaSuccess) return error;
  return Launch(stream, dim3(logits.rows), dim3(kLists * kKept), sizeof(uint64_t[kLists][kKept]),
                MergePieces, ViewOf<int>(ids), ViewOf<float>(values), ViewOf<float>(stats),
                static_cast<const uint64_t*>(scratch), pieces);
}

}  // namespace softsplice::cuda
