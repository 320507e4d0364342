// Attention inside runs of rows, without a mask: q, k, v [rows, heads * dim] in float16, as are the
// weights; sums in float32. A block takes 128 queries of one run and one head and walks the run's
// keys, 64 at a time: 4 kDim numbers of 2 bytes for 128 kDim products of each key. Weights go from
// one product to the next in registers. They are 2^(score log2(e) - top): a top that has to move
// far rescales what was summed before, one that has not stays behind the largest score.
#include <utility>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/for_each.h"

namespace softsplice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kKeys = 64;  // of a tile
constexpr int kStages = 2;
constexpr float kLog2E = 1.4426950408889634f;
// What a score, times log2(e), may be above its query's top: weights of 2^8 are far from float16's
// largest.
constexpr float kSlack = 8;
static_assert(kSelfQueries == kThreads / 32 * 32);

struct RoundToHalf {
  View<uint16_t> to;
  View<const float> from;

  __device__ void operator()(int r, int c) const { to.Row(r)[c] = FloatToHalf(from.Row(r)[c]); }
};

struct SelfInputs {
  Output y;
  View<const uint16_t> q, k, v;  // of one shape
  View<const int> starts;
};

template <int kDim>
struct SelfTile {
  alignas(16) uint16_t k[kStages][kKeys * kPitchOf<kDim>];
  alignas(16) uint16_t v[kStages][kKeys * kPitchOf<kDim>];
};
static_assert(sizeof(SelfTile<64>) <= kSharedOfBlock);

// Queries of one run and one head. Registers of a query are [i][j]: query 16 i + 8 j + g of the
// warp's 32.
template <int kDim>
class SelfBlock {
 public:
  static constexpr int kPitch = kPitchOf<kDim>;

  __device__ SelfBlock(const SelfInputs& given, Place place, int head)
      : a_(given),
        tile_(Shared<SelfTile<kDim>>()),
        first_(*given.starts.Row(place.row)),
        end_(*given.starts.Row(place.row + 1)),
        query_(first_ + place.part * kSelfQueries + threadIdx.x / 32 * 32),
        column_(head * kDim) {}

  __device__ void Run() {
    LoadQueries();
    Copy(first_, 0);
    int stage = 0;
    for (int key = first_; key < end_; key += kKeys, stage ^= 1) {
      WaitForCopies<0>();
      __syncthreads();  // for all threads; and the other stage is free
      Copy(key + kKeys, stage ^ 1);
      float scores[2][kKeys / 8][4] = {};
      AddScores(tile_.k[stage], scores);
      if (key + kKeys > end_) Mask(key, scores);
      MoveTops(scores);
      AddValues(tile_.v[stage], scores);
    }
    Store();
  }

 private:
  static __device__ int G() { return threadIdx.x % 32 / 4; }
  static __device__ int T() { return threadIdx.x % 4; }
  __device__ int QueryRow(int i, int j) const { return query_ + 16 * i + 8 * j + G(); }

  // Two numbers of a query; zeroes where there is none.
  __device__ uint32_t LoadPair(int row, int dim) const {
    if (row >= end_) return 0;
    return *reinterpret_cast<const uint32_t*>(a_.q.Row(row) + column_ + dim);
  }
  __device__ void LoadQueries() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          q_[i][d][e] = LoadPair(QueryRow(i, e % 2), 16 * d + e / 2 * 8 + 2 * T());
        }
      }
    }
  }

  // Begins to copy the keys and values from `key` on; zeroes behind the run's end.
  __device__ void Copy(int key, int stage) {
    constexpr int kPieces = kDim / 8;  // of a row
    constexpr int kRows = kThreads / kPieces;
    const int row = threadIdx.x / kPieces, c = threadIdx.x % kPieces * 8;
#pragma unroll
    for (int i = 0; i < kKeys; i += kRows) {
      const bool live = key + row + i < end_;
      const size_t from = a_.k.pitch * min(key + row + i, end_ - 1) + column_ + c;
      const int to = (row + i) * kPitch + c;
      CopyAsync(tile_.k[stage] + to, a_.k.data + from, live);
      CopyAsync(tile_.v[stage] + to, a_.v.data + from, live);
    }
    CommitCopies();
  }

  __device__ void AddScores(const uint16_t* keys, float (&scores)[2][kKeys / 8][4]) {
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        const OperandB of_keys = LoadTransposedB<kPitch>(keys + 8 * n * kPitch + 16 * d);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          MmaF16(scores[i][n], q_[i][d], of_keys.of[0]);
          MmaF16(scores[i][n + 1], q_[i][d], of_keys.of[1]);
        }
      }
    }
  }
  __device__ void Mask(int key, float (&scores)[2][kKeys / 8][4]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (key + 8 * n + 2 * T() + e % 2 >= end_) scores[i][n][e] = -INFINITY;
        }
      }
    }
  }

  // Moves the tops of queries whose scores are too far above them, and rescales what was summed
  // before.
  __device__ void MoveTops(const float (&scores)[2][kKeys / 8][4]) {
    float factors[2][2];
    bool moved = false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float largest = -INFINITY;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          largest = fmaxf(largest, fmaxf(scores[i][n][2 * j], scores[i][n][2 * j + 1]));
        }
        for (int lanes = 1; lanes < 4; lanes *= 2) {
          largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
        }
        largest *= kLog2E;
        const float before = tops_[i][j];
        if (largest > before + kSlack) tops_[i][j] = largest;
        factors[i][j] = Exp2(before - tops_[i][j]);
        moved = moved || tops_[i][j] != before;
      }
    }
    if (__any_sync(~0u, moved)) Rescale(factors);
  }
  __device__ void Rescale(const float (&factors)[2][2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        sums_[i][e] *= factors[i][e / 2];
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) values_[i][n][e] *= factors[i][e / 2];
      }
    }
  }

  // The products' registers are those of the next product's operand.
  __device__ void AddValues(const uint16_t* values, const float (&scores)[2][kKeys / 8][4]) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      OperandA weights[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float* of = &scores[i][2 * k + e / 2][e % 2 * 2];
          const float top = tops_[i][e % 2];
          weights[i][e] =
              PackHalf(Exp2(fmaf(of[0], kLog2E, -top)), Exp2(fmaf(of[1], kLog2E, -top)));
        }
        MmaF16(sums_[i], weights[i], {kOnes, kOnes});
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        const OperandB of_values = LoadB<kPitch>(values + 16 * k * kPitch + 8 * n);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          MmaF16(values_[i][n], weights[i], of_values.of[0]);
          MmaF16(values_[i][n + 1], weights[i], of_values.of[1]);
        }
      }
    }
  }

  __device__ void Store() const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        if (QueryRow(i, j) >= end_) continue;
        const int column = column_ + 2 * T();
        const float factor = 1 / sums_[i][2 * j];
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          for (int e = 0; e < 2; ++e) {
            a_.y.Store(QueryRow(i, j), column + 8 * n + e, values_[i][n][2 * j + e] * factor);
          }
        }
      }
    }
  }

  const SelfInputs& a_;
  SelfTile<kDim>& tile_;
  const int first_, end_;     // rows of the run
  const int query_, column_;  // the warp's first
  uint32_t q_[2][kDim / 16][4];
  float tops_[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
  float sums_[2][4] = {};
  float values_[2][kDim / 8][4] = {};
};

template <int kDim>
__global__ void __launch_bounds__(kThreads, 2) SelfAttention(SelfInputs a) {
  WaitForPrevious();
  const auto tiles = [&](int run) {
    return (*a.starts.Row(run + 1) - *a.starts.Row(run) + kSelfQueries - 1) / kSelfQueries;
  };
  const Place place = FindPart(blockIdx.x, a.starts.rows - 1, tiles);
  if (place.row < 0) return;
  SelfBlock<kDim>(a, place, blockIdx.y).Run();
}

}  // namespace

cudaError_t LaunchRoundHeads(cudaStream_t stream, const SelfAttentionCall& call,
                             const HalfHeads& to) {
  for (const auto& [half, from] : {std::pair(to.q, call.q), {to.k, call.k}, {to.v, call.v}}) {
    const cudaError_t error =
        LaunchForEach(stream, from.rows, from.cols,
                      RoundToHalf{ViewOf<uint16_t>(half), ViewOf<const float>(from)});
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t LaunchFlashSelfAttention(cudaStream_t stream, const SelfAttentionCall& call,
                                     const HalfHeads& heads) {
  const SelfInputs attention{OutputOf(call.y), ViewOf<const uint16_t>(heads.q),
                             ViewOf<const uint16_t>(heads.k), ViewOf<const uint16_t>(heads.v),
                             ViewOf<const int>(call.starts)};
  const auto launch = [&]<int kDim>() {
    return Launch(stream, dim3(MostSelfTiles(call), call.heads), dim3(kThreads),
                  sizeof(SelfTile<kDim>), SelfAttention<kDim>, attention);
  };
  return call.q.cols / call.heads == 32 ? launch.template operator()<32>()
                                        : launch.template operator()<64>();
}

}  // namespace softsplice::cuda
