// y = x / sqrt(mean(x^2) + eps) * gain over each group of columns; x += that of h; y = (x - mean) /
// sqrt(variance + eps) * gain. float32; y may be bfloat16. A group is a block, and in its
// registers: 8 bytes a number move (6), 12 where a sum is added to, 16 (14) where that one's norm
// follows. Gains come while the kernel waits for its predecessors.
#include "kernels/cuda/norm.h"
#include "kernels/cuda/norm_group.h"
#include "kernels/cuda/output.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {
namespace {

template <int kThreads>
__global__ void __launch_bounds__(kThreads* kGroupsOfBlock<kThreads>)
    RmsNorm(Output y, View<const float> x, const float* gain, float eps, int group) {
  auto& of_warp = Shared<float[kThreads / 32]>();
  const int index = blockIdx.y * kGroupsOfBlock<kThreads> + GroupOfBlock<kThreads>();
  const int row = blockIdx.x, first = index * group;
  Numbers gains, numbers;
  LoadGain<kThreads>(gains, gain, group);
  WaitForPrevious();
  if (first >= x.cols) return;
  Load<kThreads>(numbers, x.Row(row) + first, group);
  const float factor = NormFactor<kThreads>(numbers, group, eps, of_warp);
  ForEachNumber<kThreads>(
      group, [&](int j, int i) { y.Store(row, first + i, numbers[j] * factor * gains[j]); });
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    AddNorm(View<float> x, View<const float> h, const float* gain, float eps) {
  auto& of_warp = Shared<float[kThreads / 32]>();
  float* sum = x.Row(blockIdx.x);
  Numbers gains, numbers, sums;
  LoadGain<kThreads>(gains, gain, x.cols);
  WaitForPrevious();
  Load<kThreads>(numbers, h.Row(blockIdx.x), x.cols);
  Load<kThreads>(sums, sum, x.cols);
  const float factor = NormFactor<kThreads>(numbers, x.cols, eps, of_warp);
  ForEachNumber<kThreads>(x.cols,
                          [&](int j, int i) { sum[i] = sums[j] + numbers[j] * factor * gains[j]; });
}

// y may be h: a thread reads and writes the same columns of all three.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    AddNormNorm(Output y, View<float> x, View<const float> h, const float* gain, const float* scale,
                const float* next_gain, float eps) {
  auto& of_warp = Shared<float[2][kThreads / 32]>();
  float* sum = x.Row(blockIdx.x);
  Numbers gains, next_gains, numbers, sums;
  LoadGain<kThreads>(gains, gain, x.cols);
  LoadGain<kThreads>(next_gains, next_gain, x.cols);
  const float times = scale == nullptr ? 1 : *scale;
  WaitForPrevious();
  Load<kThreads>(numbers, h.Row(blockIdx.x), x.cols);
  Load<kThreads>(sums, sum, x.cols);
  const float factor = NormFactor<kThreads>(numbers, x.cols, eps, of_warp[0]);
  ForEachNumber<kThreads>(x.cols, [&](int j, int i) {
    sums[j] = (sums[j] + numbers[j] * factor * gains[j]) * times;
    sum[i] = sums[j];
  });
  const float next_factor = NormFactor<kThreads>(sums, x.cols, eps, of_warp[1]);
  ForEachNumber<kThreads>(
      x.cols, [&](int j, int i) { y.Store(blockIdx.x, i, sums[j] * next_factor * next_gains[j]); });
}

// What is less than `least` becomes that; not a number stays what it is.
template <int kThreads>
__global__ void __launch_bounds__(kThreads* kGroupsOfBlock<kThreads>)
    LayerNorm(Output y, View<const float> x, const float* gain, float eps, float least) {
  auto& of_warp = Shared<float[2][kThreads / 32]>();
  const int row = blockIdx.x * kGroupsOfBlock<kThreads> + GroupOfBlock<kThreads>();
  Numbers gains, numbers;
  LoadGain<kThreads>(gains, gain, x.cols);
  WaitForPrevious();
  if (row >= x.rows) return;
  Load<kThreads>(numbers, x.Row(row), x.cols);
  const float n = static_cast<float>(x.cols);
  float sum = 0;
  ForEachNumber<kThreads>(x.cols, [&](int j, int) { sum += numbers[j]; });
  const float mean = BlockSum<kThreads>(sum, of_warp[0]) / n;
  const float squares =
      SumOfSquares<kThreads>(x.cols, of_warp[1], [&](int j) { return numbers[j] - mean; });
  const float factor = 1 / sqrtf(squares / n + eps);
  ForEachNumber<kThreads>(x.cols, [&](int j, int i) {
    const float value = (numbers[j] - mean) * factor * gains[j];
    y.Store(row, i, value < least ? least : value);
  });
}

}  // namespace

cudaError_t LaunchRmsNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps,
                          int group) {
  if (group == 0) group = x.cols;
  return WithNormThreads(group, [&](auto threads) {
    constexpr int kGroups = kGroupsOfBlock<threads>;
    return Launch(stream, dim3(x.rows, (x.cols / group + kGroups - 1) / kGroups),
                  dim3(threads * kGroups), threads / 8, RmsNorm<threads>, OutputOf(y),
                  ViewOf<const float>(x), gain, eps, group);
  });
}

cudaError_t LaunchAddNorm(cudaStream_t stream, Mat x, Mat h, const float* gain, float eps) {
  return WithNormThreads(x.cols, [&](auto threads) {
    return Launch(stream, dim3(x.rows), dim3(threads), threads / 8, AddNorm<threads>,
                  ViewOf<float>(x), ViewOf<const float>(h), gain, eps);
  });
}

cudaError_t LaunchAddNormNorm(cudaStream_t stream, Mat y, Mat x, Mat h, const float* gain,
                              const float* scale, const float* next_gain, float eps) {
  return WithNormThreads(x.cols, [&](auto threads) {
    return Launch(stream, dim3(x.rows), dim3(threads), threads / 4, AddNormNorm<threads>,
                  OutputOf(y), ViewOf<float>(x), ViewOf<const float>(h), gain, scale, next_gain,
                  eps);
  });
}

cudaError_t LaunchLayerNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps,
                            float least) {
  return WithNormThreads(x.cols, [&](auto threads) {
    constexpr int kRows = kGroupsOfBlock<threads>;
    return Launch(stream, dim3((x.rows + kRows - 1) / kRows), dim3(threads * kRows), threads / 4,
                  LayerNorm<threads>, OutputOf(y), ViewOf<const float>(x), gain, eps, least);
  });
}

}  // namespace softsplice::cuda
