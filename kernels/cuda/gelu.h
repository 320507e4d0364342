// The two gates' functions (specs.h).
#pragma once

#include "kernels/cuda/device.h"

namespace softsplice::cuda {

struct TanhGelu {
  __device__ float operator()(float x) const {
    constexpr float kSqrt2OverPi = 0.7978845608028654f;
    return 0.5f * x * (1 + tanhf(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
  }
};
struct QuickGelu {
  __device__ float operator()(float x) const { return x / (1 + expf(-1.702f * x)); }
};

}  // namespace softsplice::cuda
