// y = x / sqrt(mean(x^2) + eps) * gain over each group of columns; x += that of h; y = (x - mean) /
// sqrt(variance + eps) * gain. float32. A group is a block of 32 or 256 threads, which reads it
// twice (the second time from the cache): 8 bytes a number move, 12 where a sum is added to, 16
// where that one's norm follows.
#include "kernels/cuda/norm.h"
#include "kernels/cuda/norm_group.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {
namespace {

template <int kThreads, bool kAdd>
__global__ void __launch_bounds__(kThreads)
    RmsNorm(View<float> y, View<const float> x, const float* gain, float eps, int group) {
  auto& of_warp = Shared<float[kThreads / 32]>();
  WaitForPrevious();
  const size_t first = static_cast<size_t>(blockIdx.y) * group;
  const float* from = x.Row(blockIdx.x) + first;
  float* to = y.Row(blockIdx.x) + first;
  const float factor = NormFactor<kThreads>(from, group, eps, of_warp);
  for (int i = threadIdx.x; i < group; i += kThreads) {
    const float normed = Normed(from[i], factor, gain, i);
    to[i] = kAdd ? to[i] + normed : normed;
  }
}

// y may be h: a thread reads and writes the same columns of all three.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    AddNormNorm(View<float> y, View<float> x, View<const float> h, const float* gain,
                const float* scale, const float* next_gain, float eps) {
  auto& of_warp = Shared<float[2][kThreads / 32]>();
  WaitForPrevious();
  const float* from = h.Row(blockIdx.x);
  float* sum = x.Row(blockIdx.x);
  const float times = scale == nullptr ? 1 : *scale;
  const float factor = NormFactor<kThreads>(from, x.cols, eps, of_warp[0]);
  for (int i = threadIdx.x; i < x.cols; i += kThreads) {
    sum[i] = (sum[i] + Normed(from[i], factor, gain, i)) * times;
  }
  NormGroup<kThreads>(y.Row(blockIdx.x), sum, x.cols, next_gain, eps, of_warp[1]);
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    LayerNorm(View<float> y, View<const float> x, const float* gain, float eps) {
  auto& of_warp = Shared<float[2][kThreads / 32]>();
  WaitForPrevious();
  const float* from = x.Row(blockIdx.x);
  float* to = y.Row(blockIdx.x);
  const float n = static_cast<float>(x.cols);
  float sum = 0;
  for (int i = threadIdx.x; i < x.cols; i += kThreads) sum += from[i];
  const float mean = BlockSum<kThreads>(sum, of_warp[0]) / n;
  float squares = 0;
  for (int i = threadIdx.x; i < x.cols; i += kThreads) {
    squares += (from[i] - mean) * (from[i] - mean);
  }
  const float factor = 1 / sqrtf(BlockSum<kThreads>(squares, of_warp[1]) / n + eps);
  for (int i = threadIdx.x; i < x.cols; i += kThreads) to[i] = (from[i] - mean) * factor * gain[i];
}

template <bool kAdd>
cudaError_t LaunchRms(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps, int group) {
  const dim3 blocks(x.rows, x.cols / group);
  const int threads = NormThreads(group);
  return Launch(stream, blocks, dim3(threads), threads / 8,
                threads == 32 ? RmsNorm<32, kAdd> : RmsNorm<256, kAdd>, ViewOf<float>(y),
                ViewOf<const float>(x), gain, eps, group);
}

}  // namespace

cudaError_t LaunchRmsNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps,
                          int group) {
  return LaunchRms<false>(stream, y, x, gain, eps, group == 0 ? x.cols : group);
}

cudaError_t LaunchAddNorm(cudaStream_t stream, Mat x, Mat h, const float* gain, float eps) {
  return LaunchRms<true>(stream, x, h, gain, eps, h.cols);
}

cudaError_t LaunchAddNormNorm(cudaStream_t stream, Mat y, Mat x, Mat h, const float* gain,
                              const float* scale, const float* next_gain, float eps) {
  const int threads = NormThreads(x.cols);
  return Launch(stream, dim3(x.rows), dim3(threads), threads / 4,
                threads == 32 ? AddNormNorm<32> : AddNormNorm<256>, ViewOf<float>(y),
                ViewOf<float>(x), ViewOf<const float>(h), gain, scale, next_gain, eps);
}

cudaError_t LaunchLayerNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps) {
  const int threads = NormThreads(x.cols);
  return Launch(stream, dim3(x.rows), dim3(threads), threads / 4,
                threads == 32 ? LayerNorm<32> : LayerNorm<256>, ViewOf<float>(y),
                ViewOf<const float>(x), gain, eps);
}

}  // namespace softsplice::cuda
