// The order of sums, for both matmul kernels: each product of a tile is added here, so that a row's
// sums are the same bits whichever kernel it goes through.
#pragma once

#include "kernels/cuda/formats.h"

namespace softsplice::cuda {

// Four numbers of a row as the tensor core's words of one lane: rounded to bfloat16, and (kParts
// 2) what is left of them rounded the same way.
template <int kParts>
__device__ __forceinline__ void SplitFour(uint32_t (&b)[kParts][2], const float (&v)[4]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if constexpr (kParts == 1) {
      b[0][i] = PackBFloat16(v[2 * i], v[2 * i + 1]);
    } else {
      SplitPair(b[0][i], b[1][i], v[2 * i], v[2 * i + 1]);
    }
  }
}

// A group of columns of a tile, whose codes have one scale.
template <Format kFormat>
struct Group {
  using L = Layout<kFormat>;
  static constexpr int kSteps = L::kGroup / 16;

  __device__ __forceinline__ Group(const Tile<kFormat>& tile, int group) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) Unpack(codes[step], tile, group * kSteps + step);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      UnpackScale(scale[half], min[half], tile, group, half);
    }
  }

  // sum += codes times the group's columns of x, in parts.
  template <int kXParts>
  __device__ __forceinline__ void Multiply(float (&sum)[4],
                                           const uint32_t (&b)[kSteps][kXParts][2]) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int x_part = 0; x_part < kXParts; ++x_part) {
#pragma unroll
        for (int part = 0; part < L::kParts; ++part) Mma(sum, codes[step][part], b[step][x_part]);
      }
    }
  }

  // sum += scale * dots - min * sums_of_x, which are those of two tokens.
  __device__ __forceinline__ void AddScaled(float (&sum)[4], const float (&dots)[4],
                                            float2 sums_of_x) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum[i] = fmaf(scale[i / 2], dots[i], sum[i]);
      if constexpr (L::kHasMin) {
        sum[i] = fmaf(-min[i / 2], i % 2 == 0 ? sums_of_x.x : sums_of_x.y, sum[i]);
      }
    }
  }

  uint32_t codes[kSteps][L::kParts][4];
  float scale[2], min[2];
};

// The sums over kSteps times 16 columns of x, of the lane's tokens 2t and 2t + 1; load_x(b, step)
// as below. The tensor core adds them up too: there is no other order of theirs.
template <int kSteps, int kXParts, class LoadX>
__device__ __forceinline__ float2 SumGroup(const LoadX& load_x) {
  constexpr uint32_t kOnes[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
  float sums[4] = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    uint32_t b[kXParts][2];
    load_x(b, step);
#pragma unroll
    for (int part = 0; part < kXParts; ++part) Mma(sums, kOnes, b[part]);
  }
  return {sums[0], sums[1]};
}

// sum += the products of kStrips tiles, those of strips from `first` on, and kTokenTiles times
// eight tokens. x.Load(b, step, token_tile) gives the lane's words of x for columns 16 step + {0
// ... 15} of the tile, x.SumsOf what SumGroup gives for a group of columns and a tile of tokens. A
// sum is as the tensor core has it: outputs g and g + 8, tokens 2t and 2t + 1.
template <Format kFormat, int kXParts, int kAll, int kStrips, int kTokenTiles, class X>
__device__ __forceinline__ void AddTile(float (&sum)[kTokenTiles][kAll][4],
                                        const Tile<kFormat> (&tiles)[kStrips], const X& x,
                                        int first = 0) {
  using L = Layout<kFormat>;
  constexpr int kSteps = L::kGroup / 16;
#pragma unroll
  for (int i = 0; i < L::kColumns / L::kGroup; ++i) {
    uint32_t b[kTokenTiles][kSteps][kXParts][2];
    float2 sums_of_x[kTokenTiles] = {};
#pragma unroll
    for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        x.Load(b[token_tile][step], i * kSteps + step, token_tile);
      }
      if constexpr (L::kHasMin) {
        sums_of_x[token_tile] = x.template SumsOf<kSteps>(i, token_tile);
      }
    }
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
      const Group<kFormat> group(tiles[strip], i);
#pragma unroll
      for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
        if constexpr (L::kHasScale) {
          float dots[4] = {};
          group.Multiply(dots, b[token_tile]);
          group.AddScaled(sum[token_tile][first + strip], dots, sums_of_x[token_tile]);
        } else {
          group.Multiply(sum[token_tile][first + strip], b[token_tile]);
        }
      }
    }
  }
}

}  // namespace softsplice::cuda
