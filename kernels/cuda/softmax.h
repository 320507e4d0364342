// The one order in which attention over a cache adds, whichever kernel does it. For one row and one
// query head:
//
//   keys are cut into splits at multiples of 64 (sliding layers) or 256 positions (full layers);
//   of a split, for the keys that the row sees:
//     s = q k: float16 products, 16 dims at a time, upwards, summed in float32 from zero;
//     p = float16(exp(s - top)), top being the largest s;
//     o = p v and l = p 1: 16 keys at a time, upwards, in float32 from zero;
//   splits are merged one after the other into (top, sum, values), which start as (-inf, 0, 0);
//   y = values / sum.
//
// A key that the row does not see has p = 0, a split of which it sees none is left out. So a
// result depends neither on how a prompt was cut nor on who shares the batch.
#pragma once

#include <cmath>

#include "kernels/cuda/device.h"

namespace softsplice::cuda {

// Keys that are not seen have a score of -inf; some key is seen.
__device__ inline float WeightOf(float score, float top) { return __expf(score - top); }

// What the sums so far and those of the next split are multiplied by.
struct Factors {
  float before, added;
};
// Takes a split's maximum into that of all splits so far.
__device__ inline Factors MergeTop(float& top, float of_split) {
  const float before = top;
  top = fmaxf(before, of_split);
  return {WeightOf(before, top), WeightOf(of_split, top)};
}
__device__ inline float Merged(float before, float added, const Factors& f) {
  return fmaf(added, f.added, before * f.before);
}

}  // namespace softsplice::cuda
