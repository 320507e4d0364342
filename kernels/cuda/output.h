// A matrix that a kernel only writes: float32, or bfloat16, to which each number is clamped and
// rounded once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/mat.h"

namespace softsplice::cuda {

// Not a number stays what it is.
__device__ inline float Clamp(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

struct Output {
  void* data;
  size_t pitch;  // numbers from one row to the next
  bool is_bfloat16;
  float lo, hi;  // of bfloat16

  __device__ void Store(int row, int column, float value) const {
    const size_t at = static_cast<size_t>(row) * pitch + static_cast<size_t>(column);
    if (is_bfloat16) {
      static_cast<uint16_t*>(data)[at] = FloatToBFloat16(Clamp(value, lo, hi));
    } else {
      static_cast<float*>(data)[at] = value;
    }
  }
  // Four neighbours, the first at a multiple of four, in a matrix that HasFours().
  __device__ void StoreFour(int row, int column, const float (&values)[4]) const {
    const size_t at = static_cast<size_t>(row) * pitch + static_cast<size_t>(column);
    if (is_bfloat16) {
      *reinterpret_cast<uint2*>(static_cast<uint16_t*>(data) + at) = {
          PackBFloat16(Clamp(values[0], lo, hi), Clamp(values[1], lo, hi)),
          PackBFloat16(Clamp(values[2], lo, hi), Clamp(values[3], lo, hi))};
    } else {
      *reinterpret_cast<float4*>(static_cast<float*>(data) + at) = {values[0], values[1], values[2],
                                                                    values[3]};
    }
  }
};

// Whether the address of each row is a multiple of four numbers.
inline bool HasFours(const Mat& m) {
  return m.pitch % 4 == 0 && reinterpret_cast<uintptr_t>(m.data) % (4 * SizeOf(m.type)) == 0;
}

inline Output OutputOf(const Mat& m) {
  return {m.data, static_cast<size_t>(m.pitch), m.type == DType::kBF16, m.lo, m.hi};
}

}  // namespace softsplice::cuda
