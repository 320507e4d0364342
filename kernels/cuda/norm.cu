// y = x / sqrt(mean(x^2) + eps) * gain over each group of columns; x += that of h; y = (x - mean) /
// sqrt(variance + eps) * gain. float32; y may be bfloat16. A group is a block of 32 or 256 threads,
// which reads it twice (the second time from the cache): 8 bytes a number move (6), 12 where a sum
// is added to, 16 (14) where that one's norm follows.
#include "kernels/cuda/norm.h"
#include "kernels/cuda/norm_group.h"
#include "kernels/cuda/output.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {
namespace {

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    RmsNorm(Output y, View<const float> x, const float* gain, float eps, int group) {
  auto& of_warp = Shared<float[kThreads / 32]>();
  WaitForPrevious();
  const int row = blockIdx.x, first = blockIdx.y * group;
  NormGroup<kThreads>(x.Row(row) + first, group, gain, eps, of_warp,
                      [&](int i, float normed) { y.Store(row, first + i, normed); });
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    AddNorm(View<float> x, View<const float> h, const float* gain, float eps) {
  auto& of_warp = Shared<float[kThreads / 32]>();
  WaitForPrevious();
  float* sum = x.Row(blockIdx.x);
  NormGroup<kThreads>(h.Row(blockIdx.x), h.cols, gain, eps, of_warp,
                      [&](int i, float normed) { sum[i] = sum[i] + normed; });
}

// y may be h: a thread reads and writes the same columns of all three.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    AddNormNorm(Output y, View<float> x, View<const float> h, const float* gain, const float* scale,
                const float* next_gain, float eps) {
  auto& of_warp = Shared<float[2][kThreads / 32]>();
  WaitForPrevious();
  const float* from = h.Row(blockIdx.x);
  float* sum = x.Row(blockIdx.x);
  const float times = scale == nullptr ? 1 : *scale;
  const float factor = NormFactor<kThreads>(from, x.cols, eps, of_warp[0]);
  for (int i = threadIdx.x; i < x.cols; i += kThreads) {
    sum[i] = (sum[i] + Normed(from[i], factor, gain, i)) * times;
  }
  NormGroup<kThreads>(sum, x.cols, next_gain, eps, of_warp[1],
                      [&](int i, float normed) { y.Store(blockIdx.x, i, normed); });
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    LayerNorm(Output y, View<const float> x, const float* gain, float eps) {
  auto& of_warp = Shared<float[2][kThreads / 32]>();
  WaitForPrevious();
  const float* from = x.Row(blockIdx.x);
  const float n = static_cast<float>(x.cols);
  float sum = 0;
  for (int i = threadIdx.x; i < x.cols; i += kThreads) sum += from[i];
  const float mean = BlockSum<kThreads>(sum, of_warp[0]) / n;
  float squares = 0;
  for (int i = threadIdx.x; i < x.cols; i += kThreads) {
    squares += (from[i] - mean) * (from[i] - mean);
  }
  const float factor = 1 / sqrtf(BlockSum<kThreads>(squares, of_warp[1]) / n + eps);
  for (int i = threadIdx.x; i < x.cols; i += kThreads) {
    y.Store(blockIdx.x, i, (from[i] - mean) * factor * gain[i]);
  }
}

}  // namespace

cudaError_t LaunchRmsNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps,
                          int group) {
  if (group == 0) group = x.cols;
  const int threads = NormThreads(group);
  return Launch(stream, dim3(x.rows, x.cols / group), dim3(threads), threads / 8,
                threads == 32 ? RmsNorm<32> : RmsNorm<256>, OutputOf(y), ViewOf<const float>(x),
                gain, eps, group);
}

cudaError_t LaunchAddNorm(cudaStream_t stream, Mat x, Mat h, const float* gain, float eps) {
  const int threads = NormThreads(x.cols);
  return Launch(stream, dim3(x.rows), dim3(threads), threads / 8,
                threads == 32 ? AddNorm<32> : AddNorm<256>, ViewOf<float>(x),
                ViewOf<const float>(h), gain, eps);
}

cudaError_t LaunchAddNormNorm(cudaStream_t stream, Mat y, Mat x, Mat h, const float* gain,
                              const float* scale, const float* next_gain, float eps) {
  const int threads = NormThreads(x.cols);
  return Launch(stream, dim3(x.rows), dim3(threads), threads / 4,
                threads == 32 ? AddNormNorm<32> : AddNormNorm<256>, OutputOf(y), ViewOf<float>(x),
                ViewOf<const float>(h), gain, scale, next_gain, eps);
}

cudaError_t LaunchLayerNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps) {
  const int threads = NormThreads(x.cols);
  return Launch(stream, dim3(x.rows), dim3(threads), threads / 4,
                threads == 32 ? LayerNorm<32> : LayerNorm<256>, OutputOf(y), ViewOf<const float>(x),
                gain, eps);
}

}  // namespace softsplice::cuda
