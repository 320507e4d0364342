// The outputs of a block of the warpgroups' kernel, in shared memory: so that neighbours are stored
// together.
#pragma once

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/shapes.h"

namespace softsplice::cuda {

template <int kTokens>
struct BlockOutputs {
  // Rows of 132: no two of the lanes that write at once meet in a bank.
  float of[kTokens][kWarpgroupStrips * kStripRows + 4];

  // Stores what has become of them: a warp has neighbours of some tokens.
  __device__ __forceinline__ void Store(const Product& in_shared) const {
    const Product p = in_shared;
    const int first = threadIdx.x / 32 * kAtOnce;
#pragma unroll 1
    for (int token = first; token < kTokens; token += kMatmulThreads / 32 * kAtOnce) {
      if (FirstToken() + token >= p.x.rows) return;
      p.IsPair() ? StoreRows<kWarpgroupStrips / 2, true>(p, token)
                 : StoreRows<kWarpgroupStrips, false>(p, token);
    }
  }

 private:
  static constexpr int kAtOnce = 4;  // tokens of a warp

  static __device__ int FirstToken() { return static_cast<int>(blockIdx.x) * kTokens; }

  // Of one weight or a pair, kStrips strips of each. All reads before all writes: the compiler
  // could not tell that they are of different memory.
  template <int kStrips, bool kIsPair>
  __device__ __forceinline__ void StoreRows(const Product& p, int token) const {
    constexpr int kOuts = kStrips * kStripRows;
    const int lane = threadIdx.x % 32;
    const int first_token = FirstToken() + token;
    const int first_out = static_cast<int>(blockIdx.y) * kOuts + lane;
    float sums[kAtOnce][kOuts / 32] = {}, ups[kAtOnce][kOuts / 32] = {};
    const auto for_each = [&](const auto& function) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
        for (int j = 0; j < kOuts / 32; ++j) {
          if (first_token + i >= p.x.rows || first_out + 32 * j >= p.outs) continue;
          function(i, j, first_token + i, first_out + 32 * j);
        }
      }
    };
    for_each([&](int i, int j, int at, int out) {
      sums[i][j] = of[token + i][lane + 32 * j];
      ups[i][j] = kIsPair ? of[token + i][kOuts + lane + 32 * j] : p.TimesOf(at, out);
    });
    for_each([&](int i, int j, int at, int out) {
      cuda::Store(p, at, out, p.Finished(sums[i][j], ups[i][j]));
    });
  }
};

}  // namespace softsplice::cuda
