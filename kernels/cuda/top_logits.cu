// The best logits of a row in two kernels. The first reads the row, 1 MB: the largest logit of each
// line of some neighbours, and sums. Each of 1,024 warps has every 1,024th line, so that good ones
// which are neighbours are not all one warp's. Where kMostTopLogits of the warps have a logit that
// reaches some threshold, none below it is wanted: the second kernel, a block for each row, looks
// for a threshold that few more reach, takes the logits that reach it out of the lines that do, an
// eighth of the row at most, and sorts them. Where too many do, as of equal logits, it sorts the
// row piece by piece.
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/top_logits.h"
#include "kernels/cuda/view.h"
#include "kernels/specs.h"

namespace softsplice::cuda {
namespace {

constexpr int kGroups = 1024;  // of lines: those of a warp, then of a thread
constexpr int kLines = 8;      // of a group, at most
constexpr int kReadThreads = 256;
constexpr int kThreads = kGroups;
constexpr int kEnough = 384;       // groups that may reach the threshold
constexpr int kSorted = kThreads;  // logits at once
constexpr int kAtOnce = 8;         // lines of a warp, on their way together

__device__ bool IsFinite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Orders as the logit does. No logit's is 0, which stands for none.
__device__ uint32_t RankOf(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // -0 is 0
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
__device__ float LogitOf(uint32_t rank) {
  return __uint_as_float(rank >> 31 != 0 ? rank & 0x7fffffffu : ~rank);
}
// Orders as (logit, then the smaller id) do.
__device__ uint64_t KeyOf(uint32_t rank, int id) {
  return uint64_t{rank} << 32 | ~static_cast<uint32_t>(id);
}
__device__ int IdOf(uint64_t key) { return static_cast<int>(~static_cast<uint32_t>(key)); }

// Of a row, between the kernels. Rank 0: there is no such line.
struct Summary {
  uint32_t ranks[kLines][kGroups];  // of the largest of line j of a group
  float sums[kGroups];              // of e^(logit - the group's largest); NaN: one is not finite
};

// Line j of a group is some neighbouring logits from First(group, j) on.
struct Lines {
  int length;  // a multiple of 32

  __device__ int First(int group, int j) const { return (j * kGroups + group) * length; }
};
Lines LinesOf(const Mat& logits) {
  constexpr int kMost = 32 * kGroups * kLines;
  return {32 * ((logits.cols + kMost - 1) / kMost)};
}

// A warp takes a group.
__global__ void __launch_bounds__(kReadThreads)
    Summarise(Summary* summaries, View<const float> logits, Lines lines) {
  WaitForPrevious();
  const int lane = threadIdx.x % 32;
  const int group = (blockIdx.y * kReadThreads + threadIdx.x) / 32;
  const float* row = logits.Row(blockIdx.x);
  // One logit of each line; where a line has none, the row's last.
  const auto id_of = [&](int i, int j) { return lines.First(group, j) + i; };
  const auto load = [&](int i, float(&of)[kLines]) {
#pragma unroll
    for (int j = 0; j < kLines; ++j) of[j] = row[min(id_of(i, j), logits.cols - 1)];
  };
  float of[kLines];
  uint32_t ranks[kLines] = {};
  for (int i = lane; i < lines.length; i += 32) {
    load(i, of);
#pragma unroll
    for (int j = 0; j < kLines; ++j) {
      ranks[j] = max(ranks[j], id_of(i, j) < logits.cols ? RankOf(of[j]) : 0);
    }
  }
  uint32_t best = 0, of_lane = 0;
#pragma unroll
  for (int j = 0; j < kLines; ++j) {
    ranks[j] = __reduce_max_sync(~0u, ranks[j]);
    best = max(best, ranks[j]);
    if (lane == j) of_lane = ranks[j];
  }
  float sum = 0;
  bool finite = true;
  for (int i = lane; i < lines.length; i += 32) {
    load(i, of);
#pragma unroll
    for (int j = 0; j < kLines; ++j) {
      finite = finite && IsFinite(of[j]);
      sum += id_of(i, j) < logits.cols ? expf(of[j] - LogitOf(best)) : 0;
    }
  }
  sum = WarpSum(finite ? sum : NAN);
  Summary& to = summaries[blockIdx.x];
  if (lane < kLines) to.ranks[lane][group] = of_lane;
  if (lane == 0) to.sums[group] = sum;
}

struct Tile {
  uint64_t keys[2][kSorted];
  int firsts[kSorted];     // of the lines to look into
  unsigned lines, logits;  // that there are; more than kSorted: too many
  uint32_t of_warp[4][kThreads / 32];
  float sums[kThreads / 32];
};

// The block's sum, or what else `reduce` makes, of each warp's number, for all threads. The next
// one needs another `slot`.
template <class Reduce>
__device__ uint32_t OfBlock(Tile& tile, int slot, uint32_t of_warp, Reduce reduce) {
  if (threadIdx.x % 32 == 0) tile.of_warp[slot][threadIdx.x / 32] = of_warp;
  __syncthreads();
  return reduce(tile.of_warp[slot][threadIdx.x % 32]);
}

// A rank that those of at least kMostTopLogits threads reach, and, if there is such a one, of
// kEnough at most. `low` and `high`: of all.
__device__ uint32_t Threshold(Tile& tile, uint32_t rank, uint32_t low, uint32_t high) {
  for (int slot = 2; low < high; slot ^= 1) {
    const uint32_t middle = low + (high - low) / 2 + 1;
    const unsigned reach =
        OfBlock(tile, slot, __popc(__ballot_sync(~0u, rank >= middle)),
                [](unsigned of_warp) { return __reduce_add_sync(~0u, of_warp); });
    if (reach < kMostTopLogits) {
      high = middle - 1;
    } else {
      low = middle;
      if (reach <= kEnough) break;
    }
  }
  return low;
}

// Calls store(j, place) for each j that is `wanted`, with places in a list of `size` that grows, in
// any order. For a whole warp.
template <int kCount, class Store>
__device__ void Append(unsigned& size, const bool (&wanted)[kCount], Store store) {
  const int lane = threadIdx.x % 32;
  unsigned votes[kCount], count = 0;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    votes[j] = __ballot_sync(~0u, wanted[j]);
    count += __popc(votes[j]);
  }
  if (count == 0) return;
  unsigned place = 0;
  if (lane == 0) place = atomicAdd(&size, count);
  place = __shfl_sync(~0u, place, 0);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    if (wanted[j]) store(j, place + __popc(votes[j] & ((1u << lane) - 1)));
    place += __popc(votes[j]);
  }
}

// Of two threads `step` apart one takes the larger key, by which groups of `size` are in order.
__device__ void Meet(uint64_t& key, uint64_t other, int size, int step) {
  const bool takes_larger = ((threadIdx.x & step) == 0) == ((threadIdx.x & size) == 0);
  if ((other > key) == takes_larger) key = other;
}
// Groups of `size`, by all threads of a warp: what is left for the warp's own keys.
__device__ void MeetInWarp(uint64_t& key, int size, int first_step) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    if (step <= first_step) Meet(key, __shfl_xor_sync(~0u, key, step), size, step);
  }
}

// Sorts the keys of the first `count` threads, a power of two and 32 at least: the first one gets
// the largest. `buffer`: the one of the two that was not used last.
__device__ void Sort(Tile& tile, uint64_t& key, int count, int& buffer) {
  const int thread = threadIdx.x;
  const bool live = thread < count;
  if (live) {
#pragma unroll
    for (int size = 2; size <= 32; size *= 2) MeetInWarp(key, size, size / 2);
  }
  for (int size = 64; size <= count; size *= 2) {
    for (int step = size / 2; step >= 32; step /= 2) {
      if (live) tile.keys[buffer][thread] = key;
      __syncthreads();
      if (live) Meet(key, tile.keys[buffer][thread ^ step], size, step);
      buffer ^= 1;
    }
    if (live) MeetInWarp(key, size, 16);
  }
}

// The keys of the logits that reach `threshold`, a thread each, as far as there is room.
__device__ uint64_t Take(Tile& tile, const uint32_t (&ranks)[kLines], uint32_t threshold,
                         const float* row, int cols, const Lines& lines) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  bool reach[kLines];
#pragma unroll
  for (int j = 0; j < kLines; ++j) reach[j] = ranks[j] >= threshold;
  Append(tile.lines, reach, [&](int j, unsigned place) {
    if (place < kSorted) tile.firsts[place] = lines.First(threadIdx.x, j);
  });
  __syncthreads();
  const int count = min(static_cast<int>(tile.lines), kSorted);
  for (int first = warp; first < count; first += kThreads / 32 * kAtOnce) {
    for (int i = lane; i < lines.length; i += 32) {
      uint32_t of_lane[kAtOnce];
      bool wanted[kAtOnce];
      const auto id_of = [&](int j) {
        const int at = first + j * (kThreads / 32);
        return at < count ? tile.firsts[at] + i : cols;
      };
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int id = id_of(j);
        const uint32_t logit = RankOf(row[min(id, cols - 1)]);
        of_lane[j] = id < cols ? logit : 0;
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) wanted[j] = of_lane[j] >= threshold;
      Append(tile.logits, wanted, [&](int j, unsigned place) {
        if (place < kSorted) tile.keys[0][place] = KeyOf(of_lane[j], id_of(j));
      });
    }
  }
  __syncthreads();
  return threadIdx.x < tile.logits ? tile.keys[0][threadIdx.x] : 0;
}

__global__ void __launch_bounds__(kThreads)
    TakeBest(View<int> ids, View<float> values, View<float> stats, View<const float> logits,
             Lines lines, const Summary* summaries) {
  auto& tile = Shared<Tile>();
  const int thread = threadIdx.x;
  if (thread == 0) tile.lines = tile.logits = 0;
  WaitForPrevious();
  const Summary& of = summaries[blockIdx.x];
  uint32_t ranks[kLines], rank = 0;
#pragma unroll
  for (int j = 0; j < kLines; ++j) ranks[j] = of.ranks[j][thread];
#pragma unroll
  for (int j = 0; j < kLines; ++j) rank = max(rank, ranks[j]);
  const float sum = of.sums[thread];
  const uint32_t low = OfBlock(tile, 0, __reduce_min_sync(~0u, rank),
                               [](uint32_t of_warp) { return __reduce_min_sync(~0u, of_warp); });
  const uint32_t high = OfBlock(tile, 1, __reduce_max_sync(~0u, rank),
                                [](uint32_t of_warp) { return __reduce_max_sync(~0u, of_warp); });
  const float largest = LogitOf(high);
  const float of_warp = WarpSum(sum == 0 ? 0 : sum * expf(LogitOf(rank) - largest));
  if (thread % 32 == 0) tile.sums[thread / 32] = of_warp;

  const float* row = logits.Row(blockIdx.x);
  const uint32_t threshold = max(Threshold(tile, rank, low, high), 1u);
  uint64_t key = Take(tile, ranks, threshold, row, logits.cols, lines);
  int buffer = 0;
  if (tile.lines <= kSorted && tile.logits <= kSorted) {
    int count = 32;
    while (count < static_cast<int>(tile.logits)) count *= 2;
    Sort(tile, key, count, buffer);
  } else {
    // The best so far, in order, and the next ones.
    key = 0;
    for (int next = thread - kMostTopLogits; next - thread + kMostTopLogits < logits.cols;
         next += kThreads - kMostTopLogits) {
      if (thread >= kMostTopLogits) key = next < logits.cols ? KeyOf(RankOf(row[next]), next) : 0;
      Sort(tile, key, kThreads, buffer);
    }
  }
  if (thread < ids.cols) {
    ids.Row(blockIdx.x)[thread] = IdOf(key);
    values.Row(blockIdx.x)[thread] = LogitOf(static_cast<uint32_t>(key >> 32));
  }
  if (thread < 32) {
    const float all = WarpSum(tile.sums[thread]);
    if (thread == 0) {
      stats.Row(blockIdx.x)[0] = IsFinite(all) ? largest : NAN;
      stats.Row(blockIdx.x)[1] = largest + logf(all);
    }
  }
}

}  // namespace

size_t TopLogitsScratch(const Mat& logits) {
  return static_cast<size_t>(logits.rows) * sizeof(Summary) / sizeof(uint64_t);
}

cudaError_t LaunchTopLogits(cudaStream_t stream, Mat ids, Mat values, Mat stats, Mat logits,
                            uint64_t* scratch) {
  const Lines lines = LinesOf(logits);
  const auto view = ViewOf<const float>(logits);
  auto* summaries = reinterpret_cast<Summary*>(scratch);
  const cudaError_t error = Launch(stream, dim3(logits.rows, 32 * kGroups / kReadThreads),
                                   dim3(kReadThreads), 0, Summarise, summaries, view, lines);
  if (error != cudaSuccess) return error;
  return Launch(stream, dim3(logits.rows), dim3(kThreads), sizeof(Tile), TakeBest, ViewOf<int>(ids),
                ViewOf<float>(values), ViewOf<float>(stats), view, lines,
                static_cast<const Summary*>(summaries));
}

}  // namespace softsplice::cuda
