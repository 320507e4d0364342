// See rope.h. Rope: 8 bytes a number. With the norm: the same, what lies between is in the cache.
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/head_norm.h"
#include "kernels/cuda/rope.h"

namespace softsplice::cuda {
namespace {

struct TurnPair {
  View<float> x;
  Rotation rotation;

  // c counts the pairs of a row.
  __device__ void operator()(int r, int c) const {
    const int head = c / rotation.half;
    rotation.Turn(x.Row(r) + head * rotation.head_dim, *rotation.positions.Row(r),
                  c - head * rotation.half);
  }
};

template <int kThreads>
__global__ void __launch_bounds__(kThreads* kGroupsOfBlock<kThreads>)
    HeadNormRope(View<float> x, const float* gain, float eps, Rotation rotation) {
  auto& tile = Shared<HeadTile<kThreads>[kGroupsOfBlock<kThreads>]>()[GroupOfBlock<kThreads>()];
  const int index = blockIdx.y * kGroupsOfBlock<kThreads> + GroupOfBlock<kThreads>();
  const int dims = rotation.head_dim, first = index * dims;
  Numbers gains;
  LoadGain<kThreads>(gains, gain, dims);
  const int position = *rotation.positions.Row(blockIdx.x);
  WaitForPrevious();
  if (first >= x.cols) return;
  float* head = x.Row(blockIdx.x) + first;
  NormHead<kThreads>(tile, head, dims, gains, eps);
  TurnHead<kThreads>(tile, position, rotation);
  ForEachNumber<kThreads>(dims, [&](int, int i) { head[i] = tile.head[i]; });
}

}  // namespace

cudaError_t LaunchRope(cudaStream_t stream, Mat x, Mat positions, const RopeSpec& spec,
                       const RopeTables& tables) {
  return LaunchForEach(stream, x.rows, x.cols / spec.head_dim * (spec.count / 2),
                       TurnPair{ViewOf<float>(x), RotationOf(spec, positions, tables)});
}

cudaError_t LaunchHeadNormRope(cudaStream_t stream, Mat x, const float* gain, float eps,
                               Mat positions, const RopeSpec& spec, const RopeTables& tables) {
  return WithHeadThreads(spec.head_dim, [&](auto threads) {
    constexpr int kGroups = kGroupsOfBlock<threads>;
    return Launch(stream, dim3(x.rows, (x.cols / spec.head_dim + kGroups - 1) / kGroups),
                  dim3(threads * kGroups), kGroups * sizeof(HeadTile<threads>),
                  HeadNormRope<threads>, ViewOf<float>(x), gain, eps,
                  RotationOf(spec, positions, tables));
  });
}

}  // namespace softsplice::cuda
