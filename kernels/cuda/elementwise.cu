// See elementwise.h. Each op reads its inputs once and writes its output once: 8 bytes a number in
// place, 12 with a second input.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/gates.h"

namespace softsplice::cuda {
namespace {

struct Factor {
  float factor;
  __device__ float operator()(float x) const { return x * factor; }
};
struct StoredFactor {
  const float* factor;
  __device__ float operator()(float x) const { return x * *factor; }
};
struct Cap {
  float cap;
  __device__ float operator()(float x) const { return cap * tanhf(x / cap); }
};
struct Positive {
  // Not a number stays what it is.
  __device__ float operator()(float x) const { return x < 0 ? 0 : x; }
};

// x = function(x).
template <class F>
struct InPlace {
  View<float> x;
  F function;
  __device__ void operator()(int r, int c) const { x.Row(r)[c] = function(x.Row(r)[c]); }
};
template <class F>
cudaError_t LaunchInPlace(cudaStream_t stream, Mat x, F function) {
  return LaunchForEach(stream, x.rows, x.cols, InPlace<F>{ViewOf<float>(x), function});
}

template <class F>
struct Gated {
  View<float> gate;
  View<const float> up;
  F function;
  __device__ void operator()(int r, int c) const {
    gate.Row(r)[c] = function(gate.Row(r)[c]) * up.Row(r)[c];
  }
};

struct Sum {
  View<float> y;
  View<const float> x;
  __device__ void operator()(int r, int c) const { y.Row(r)[c] += x.Row(r)[c]; }
};

struct Halves {
  View<float> y;
  View<const float> x;
  __device__ void operator()(int r, int c) const {
    y.Row(r)[c] = x.Row(r)[c] * Sigmoid(x.Row(r)[y.cols + c]);
  }
};

struct VectorSum {
  View<float> x;
  const float* vector;
  __device__ void operator()(int r, int c) const { x.Row(r)[c] += vector[c]; }
};

struct VectorProduct {
  View<float> x;
  const float* vector;
  int period;
  __device__ void operator()(int r, int c) const { x.Row(r)[c] *= vector[c % period]; }
};

}  // namespace

cudaError_t LaunchGeluMul(cudaStream_t stream, Mat gate, Mat up, Gelu gelu) {
  const View<float> x = ViewOf<float>(gate);
  const View<const float> by = ViewOf<const float>(up);
  if (gelu == Gelu::kTanh) {
    return LaunchForEach(stream, gate.rows, gate.cols, Gated<TanhGelu>{x, by, {}});
  }
  return LaunchForEach(stream, gate.rows, gate.cols, Gated<QuickGelu>{x, by, {}});
}

cudaError_t LaunchAdd(cudaStream_t stream, Mat y, Mat x) {
  return LaunchForEach(stream, y.rows, y.cols, Sum{ViewOf<float>(y), ViewOf<const float>(x)});
}

cudaError_t LaunchScale(cudaStream_t stream, Mat x, float factor) {
  return LaunchInPlace(stream, x, Factor{factor});
}

cudaError_t LaunchScale(cudaStream_t stream, Mat x, const float* factor) {
  return LaunchInPlace(stream, x, StoredFactor{factor});
}

cudaError_t LaunchSoftcap(cudaStream_t stream, Mat x, float cap) {
  return LaunchInPlace(stream, x, Cap{cap});
}

cudaError_t LaunchRelu(cudaStream_t stream, Mat x) { return LaunchInPlace(stream, x, Positive{}); }

cudaError_t LaunchSilu(cudaStream_t stream, Mat x) { return LaunchInPlace(stream, x, SelfGate{}); }

cudaError_t LaunchGlu(cudaStream_t stream, Mat y, Mat x) {
  return LaunchForEach(stream, y.rows, y.cols, Halves{ViewOf<float>(y), ViewOf<const float>(x)});
}

cudaError_t LaunchAddVector(cudaStream_t stream, Mat x, const float* vector) {
  return LaunchForEach(stream, x.rows, x.cols, VectorSum{ViewOf<float>(x), vector});
}

cudaError_t LaunchMulVector(cudaStream_t stream, Mat x, const float* vector, int period) {
  return LaunchForEach(stream, x.rows, x.cols, VectorProduct{ViewOf<float>(x), vector, period});
}

}  // namespace softsplice::cuda
