// Heads of patches for self attention: q and k become rope(norm(.) * gain), half of a head's dims
// turning with the patch's column and half with its row, and v norm(v); rounded to float16. 6 bytes
// a number. A warp has one row of q, k or v, whose heads share its angles, and loads some of them
// at a time. The bits are those of HeadNormRope, Rope and RmsNorm, one after the other.
#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/norm_group.h"
#include "kernels/cuda/rotation.h"

namespace softsplice::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kAtOnce = 4;  // heads

struct Part {
  View<const float> from;
  View<uint16_t> to;
  const float* gain;  // null: 1
};
struct Parts {
  Part q, k, v;
  View<const int> columns, rows;
  const float* frequencies;
  float eps;
};

// A lane's dims are those that it has in a norm: lane and, of heads of 64, lane + 32.
template <int kDim>
__global__ void __launch_bounds__(32 * kWarps) NormPatchHeads(Parts all) {
  constexpr int kDims = kDim / 32;
  constexpr int kPairs = kDim / 4;  // that turn with the column, and with the row
  const Part part = blockIdx.y == 0 ? all.q : blockIdx.y == 1 ? all.k : all.v;
  const bool turns = blockIdx.y < 2;
  const int lane = threadIdx.x % 32, row = blockIdx.x * kWarps + threadIdx.x / 32;
  const int place = min(row, part.from.rows - 1);
  Numbers gains;
  LoadGain<32>(gains, part.gain, kDim);
  Angle angles[kDims] = {};
#pragma unroll
  for (int j = 0; j < kDims; ++j) {
    const int dim = lane + 32 * j;
    const int position = *(dim < kDim / 2 ? all.columns : all.rows).Row(place);
    if (turns) angles[j] = AngleOf(position, all.frequencies[dim % kPairs]);
    if (dim % (kDim / 2) < kPairs) angles[j].sine = -angles[j].sine;
  }
  WaitForPrevious();
  if (row >= part.from.rows) return;
  const float* from = part.from.Row(row);
  uint16_t* to = part.to.Row(row);
#pragma unroll 1
  for (int first = 0; first < part.from.cols; first += kAtOnce * kDim) {
    Numbers numbers[kAtOnce];
#pragma unroll
    for (int head = 0; head < kAtOnce; ++head) {
      const int column = first + head * kDim;
      if (column < part.from.cols) Load<32>(numbers[head], from + column, kDim);
    }
#pragma unroll
    for (int head = 0; head < kAtOnce; ++head) {
      const int column = first + head * kDim;
      if (column >= part.from.cols) break;
      const float factor = NormFactor<32>(numbers[head], kDim, all.eps, nullptr);
#pragma unroll
      for (int j = 0; j < kDims; ++j) {
        float number = numbers[head][j] * factor * gains[j];
        if (turns) {
          const float other = __shfl_xor_sync(~0u, number, kPairs);
          number = Turned(number, other, angles[j].sine, angles[j].cosine);
        }
        to[column + lane + 32 * j] = FloatToHalf(number);
      }
    }
  }
}

}  // namespace

cudaError_t LaunchNormPatchHeads(cudaStream_t stream, const SelfAttentionCall& call,
                                 const PatchHeads& heads, const HalfHeads& to) {
  const auto part = [](const Mat& from, const Mat& half, const float* gain) {
    return Part{ViewOf<const float>(from), ViewOf<uint16_t>(half), gain};
  };
  const Parts all{part(call.q, to.q, heads.q_gain),
                  part(call.k, to.k, heads.k_gain),
                  part(call.v, to.v, nullptr),
                  ViewOf<const int>(heads.columns),
                  ViewOf<const int>(heads.rows),
                  heads.frequencies,
                  heads.eps};
  return Launch(stream, dim3((call.q.rows + kWarps - 1) / kWarps, 3), dim3(32 * kWarps), 0,
                call.q.cols / call.heads == 32 ? NormPatchHeads<32> : NormPatchHeads<64>, all);
}

}  // namespace softsplice::cuda
