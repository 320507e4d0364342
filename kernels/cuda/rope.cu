// (a, b) = (a cos - b sin, b cos + a sin) for dims i and i + count / 2 of each head, angle position
// * frequency / factor rounded to float32, as transformers has it. 8 bytes a number.
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/rope.h"

namespace softsplice::cuda {
namespace {

struct Rotate {
  View<float> x;
  View<const int> positions;
  int head_dim, first, half;
  const float* frequencies;
  const float* factors;

  // c counts the pairs of a row.
  __device__ void operator()(int r, int c) const {
    const int i = c % half;
    const float frequency = factors == nullptr ? frequencies[i] : frequencies[i] / factors[i];
    const float angle = static_cast<float>(*positions.Row(r)) * frequency;
    // Half turns, without the whole ones: exact to far below float32's rounding.
    constexpr double kInversePi = 0.31830988618379067154;
    double turns = static_cast<double>(angle) * kInversePi;
    turns -= 2 * rint(turns / 2);
    float sine, cosine;
    sincospif(static_cast<float>(turns), &sine, &cosine);
    float* a = x.Row(r) + c / half * head_dim + first + i;
    float* b = a + half;
    const float old = *a;
    *a = old * cosine - *b * sine;
    *b = *b * cosine + old * sine;
  }
};

}  // namespace

cudaError_t LaunchRope(cudaStream_t stream, Mat x, Mat positions, const RopeSpec& spec,
                       const float* frequencies, const float* factors) {
  const int half = spec.count / 2;
  return LaunchForEach(stream, x.rows, x.cols / spec.head_dim * half,
                       Rotate{ViewOf<float>(x), ViewOf<const int>(positions), spec.head_dim,
                              spec.first, half, frequencies, factors});
}

}  // namespace softsplice::cuda
