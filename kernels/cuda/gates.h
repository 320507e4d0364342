// The functions of gates.
#pragma once

#include "kernels/cuda/device.h"

namespace softsplice::cuda {

// e^x up to e^87, without a branch. What the rounding of the exponent of two leaves out comes
// after.
__device__ inline float Exp(float x) {
  constexpr float kHigh = 1.4426950216293335f, kLow = 1.9259629911e-8f;  // their sum: log2(e)
  x = x > 87 ? 87 : x;  // not a number stays what it is
  const float exponent = kHigh * x;
  const float rest = fmaf(kLow, x, fmaf(kHigh, x, -exponent));
  const float power = Exp2(exponent);
  return fmaf(power, 0.69314718f * rest, power);  // log(2)
}
__device__ inline float Sigmoid(float x) { return __fdividef(1, 1 + Exp(-x)); }

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
