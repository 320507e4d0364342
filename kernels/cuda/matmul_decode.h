// y = x W^T for 1 to 64 rows of x (tokens): memory is the limit, so weights are read once, a
// strip's columns by the warps of one block. x [tokens, cols] bfloat16 or float32, y [tokens,
// outs]; a block takes kStrips strips and all of their columns, then the next ones in turn.
#pragma once

#include "kernels/cuda/matmul_decode_walk.h"

namespace softsplice::cuda {

// The slices of one half of the columns, in order.
template <int kStrips>
__device__ __forceinline__ float HalfSum(const SliceSums<kStrips>& slices, int first, int strip,
                                         int token, int row) {
  float sum = 0;
  for (int slice = first; slice < first + kSlices / 2; ++slice) {
    sum += slices.of[slice][strip][token][row];
  }
  return sum;
}

// A warp is a slice of the columns.
template <Format kFormat, Input kInput, int kStrips, int kTokenTiles>
__global__ void __launch_bounds__(kMatmulThreads, kTokenTiles == 1 ? 2 : 1)
    DecodeMatmul(Product all) {
  const Product p = all.Own();
  if (static_cast<int>(blockIdx.y) >= p.Blocks<kStrips>()) {
    return WaitForPrevious();  // the blocks are as many as the largest of the products needs
  }
  auto& memory = Shared<DecodeMemory<kFormat, kInput, kStrips, kTokenTiles>>();
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  Walk<kFormat, kInput, kStrips, kTokenTiles> walk(p, memory.ring[slice], slice);
  walk.BeginWeights();
  WaitForPrevious();  // the first weights are on their way
  walk.BeginX();

  int buffer = 0;
  const int rounds = walk.Rounds();
  for (int round = 0; round < rounds; ++round) {
    float sum[kTokenTiles][kStrips][4] = {};
    for (int i = walk.tiles(); i > 0; --i) {
      const auto& slot = walk.Take();
      Tile<kFormat> tiles[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) tiles[strip] = slot.weights[strip].Load(lane);
      AddTile<kFormat, kPartsOf<kInput>>(sum, tiles, slot.x);
    }
#pragma unroll
    for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
      const int first_token = walk.FirstToken() + token_tile * 8;
      if (first_token >= p.x.rows) break;
      auto& sums = memory.sums[buffer];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums.of[slice][strip][2 * t + i % 2][g + i / 2 * 8] = sum[token_tile][strip][i];
        }
      }
      __syncthreads();
      // Half of the warps in turn, while the others go on.
      const int worker = static_cast<int>(threadIdx.x) - buffer * 8 * kStripRows;
      buffer = 1 - buffer;
      if (worker < 0 || worker >= 8 * kStripRows) continue;
      const int row = worker % kStripRows, token = worker / kStripRows;
      float totals[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) {
        totals[strip] =
            HalfSum(sums, 0, strip, token, row) + HalfSum(sums, kSlices / 2, strip, token, row);
      }
      Finish<kStrips>(p, static_cast<int>(blockIdx.y + round * gridDim.y), row, first_token + token,
                      totals);
    }
  }
}

}  // namespace softsplice::cuda
