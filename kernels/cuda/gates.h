// The functions of gates.
#pragma once

#include "kernels/cuda/device.h"

namespace softsplice::cuda {

__device__ inline float Sigmoid(float x) { return 1 / (1 + expf(-x)); }

// x / 2 (1 + tanh(u)) = x / (1 + e^(-2u)), without a branch.
struct TanhGelu {
  __device__ float operator()(float x) const {
    constexpr float kFactor = -2 * 1.4426950408889634f * 0.7978845608028654f;  // log2(e) sqrt(2/pi)
    return __fdividef(x, 1 + Exp2(kFactor * (x + 0.044715f * x * x * x)));
  }
};
struct QuickGelu {
  __device__ float operator()(float x) const { return x / (1 + expf(-1.702f * x)); }
};

struct SelfGate {
  __device__ float operator()(float x) const { return x * Sigmoid(x); }
};

}  // namespace softsplice::cuda
