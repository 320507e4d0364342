// A matrix that a kernel only writes: float32, or bfloat16, to which each number is rounded once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/mat.h"

namespace softsplice::cuda {

struct Output {
  void* data;
  size_t pitch;  // numbers from one row to the next
  bool is_bfloat16;

  __device__ void Store(int row, int column, float value) const {
    const size_t at = static_cast<size_t>(row) * pitch + static_cast<size_t>(column);
    if (is_bfloat16) {
      static_cast<uint16_t*>(data)[at] = FloatToBFloat16(value);
    } else {
      static_cast<float*>(data)[at] = value;
    }
  }
};

inline Output OutputOf(const Mat& m) {
  return {m.data, static_cast<size_t>(m.pitch), m.type == DType::kBF16};
}

}  // namespace softsplice::cuda
