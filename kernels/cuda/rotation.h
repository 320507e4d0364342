// (a, b) = (a cos - b sin, b cos + a sin) for dims i and i + count / 2 of a head, angle position *
// frequency / factor rounded to float32, as transformers has it.
#pragma once

#include "kernels/cuda/rope.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {

struct Angle {
  float sine, cosine;
};
__device__ inline Angle AngleOf(int position, float frequency) {
  const float angle = static_cast<float>(position) * frequency;
  // Half turns, without the whole ones: exact to far below float32's rounding.
  constexpr double kInversePi = 0.31830988618379067154;
  double turns = static_cast<double>(angle) * kInversePi;
  turns -= 2 * rint(turns / 2);
  Angle of;
  sincospif(static_cast<float>(turns), &of.sine, &of.cosine);
  return of;
}
// What becomes of one of a pair: of the first one for -sine. Contracted as it stands here, wherever
// that is.
__device__ inline float Turned(float x, float other, float sine, float cosine) {
  return fmaf(x, cosine, other * sine);
}

struct Rotation {
  View<const int> positions;
  int head_dim, first, half;  // dims [first, first + 2 half) of each head turn
  RopeTables tables;

  // Pair i of a head at `position`.
  __device__ void Turn(float* head, int position, int i) const {
    const Angle angle =
        AngleOf(position, tables.factors == nullptr ? tables.frequencies[i]
                                                    : tables.frequencies[i] / tables.factors[i]);
    float* a = head + first + i;
    float* b = a + half;
    const float old = *a;
    *a = Turned(old, *b, -angle.sine, angle.cosine);
    *b = Turned(*b, old, angle.sine, angle.cosine);
  }
};

inline Rotation RotationOf(const RopeSpec& spec, Mat positions, const RopeTables& tables) {
  return {ViewOf<const int>(positions), spec.head_dim, spec.first, spec.count / 2, tables};
}

}  // namespace softsplice::cuda
