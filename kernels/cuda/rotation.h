// (a, b) = (a cos - b sin, b cos + a sin) for dims i and i + count / 2 of a head, angle position *
// frequency / factor rounded to float32, as transformers has it.
#pragma once

#include "kernels/cuda/rope.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {

struct Rotation {
  View<const int> positions;
  int head_dim, first, half;  // dims [first, first + 2 half) of each head turn
  RopeTables tables;

  // Pair i of a head at `position`.
  __device__ void Turn(float* head, int position, int i) const {
    const float frequency = tables.factors == nullptr ? tables.frequencies[i]
                                                      : tables.frequencies[i] / tables.factors[i];
    const float angle = static_cast<float>(position) * frequency;
    // Half turns, without the whole ones: exact to far below float32's rounding.
    constexpr double kInversePi = 0.31830988618379067154;
    double turns = static_cast<double>(angle) * kInversePi;
    turns -= 2 * rint(turns / 2);
    float sine, cosine;
    sincospif(static_cast<float>(turns), &sine, &cosine);
    float* a = head + first + i;
    float* b = a + half;
    const float old = *a;
    *a = old * cosine - *b * sine;
    *b = *b * cosine + old * sine;
  }
};

inline Rotation RotationOf(const RopeSpec& spec, Mat positions, const RopeTables& tables) {
  return {ViewOf<const int>(positions), spec.head_dim, spec.first, spec.count / 2, tables};
}

}  // namespace softsplice::cuda
