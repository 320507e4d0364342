// A Mat as kernels see it.
#pragma once

#include <cstddef>

#include "kernels/cuda/device.h"
#include "kernels/mat.h"

namespace softsplice::cuda {

template <class T>
struct View {
  T* data;
  int rows, cols;
  size_t pitch;  // numbers from one row to the next

  __device__ T* Row(int r) const { return data + static_cast<size_t>(r) * pitch; }
};

template <class T>
View<T> ViewOf(const Mat& m) {
  return {static_cast<T*>(m.data), m.rows, m.cols, static_cast<size_t>(m.pitch)};
}

}  // namespace softsplice::cuda
