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
    rotation.Turn(x.Row(r) + head * rotation.head_dim, r, c - head * rotation.half);
  }
};

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    HeadNormRope(View<float> x, const float* gain, float eps, Rotation rotation) {
  auto& of_warp = Shared<float[kThreads / 32]>();
  WaitForPrevious();
  const int r = blockIdx.x, dims = rotation.head_dim;
  float* head = x.Row(r) + blockIdx.y * dims;
  NormHead<kThreads>(head, dims, gain, eps, of_warp);
  TurnHead<kThreads>(head, r, rotation);
}

}  // namespace

cudaError_t LaunchRope(cudaStream_t stream, Mat x, Mat positions, const RopeSpec& spec,
                       const RopeTables& tables) {
  return LaunchForEach(stream, x.rows, x.cols / spec.head_dim * (spec.count / 2),
                       TurnPair{ViewOf<float>(x), RotationOf(spec, positions, tables)});
}

cudaError_t LaunchHeadNormRope(cudaStream_t stream, Mat x, const float* gain, float eps,
                               Mat positions, const RopeSpec& spec, const RopeTables& tables) {
  const int threads = NormThreads(spec.head_dim);
  return Launch(stream, dim3(x.rows, x.cols / spec.head_dim), dim3(threads), threads / 8,
                threads == 32 ? HeadNormRope<32> : HeadNormRope<256>, ViewOf<float>(x), gain, eps,
                RotationOf(spec, positions, tables));
}

}  // namespace softsplice::cuda
