// See matmul.h.
#include <cmath>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matmul_launch.h"

namespace softsplice::cuda {
namespace {

const Tiles& TilesOf(const Weight& w) {
  return static_cast<const PackedLinear*>(w.packed.get())->tiles;
}

bool IsAligned(const Mat& m, size_t bytes) {
  return reinterpret_cast<uintptr_t>(m.data) % bytes == 0 &&
         static_cast<size_t>(m.pitch) * SizeOf(m.type) % bytes == 0;
}

bool ClampsInputs(const Weight& w) { return w.in_lo > -INFINITY || w.in_hi < INFINITY; }

Operand OperandOf(const Mat& x, const Weight& w) {
  const bool is_bfloat16 = x.type == DType::kBF16;
  return {.data = x.data,
          .rows = x.rows,
          .cols = x.cols,
          .pitch = static_cast<size_t>(x.pitch),
          .is_bfloat16 = is_bfloat16,
          .copies = is_bfloat16 && !ClampsInputs(w) && x.cols % 8 == 0 && IsAligned(x, 16),
          .lo = w.in_lo,
          .hi = w.in_hi};
}

// Whether four numbers of x at a time can go straight to registers.
bool CanDecode(const Mat& x, const Weight& w, bool exact) {
  return !ClampsInputs(w) && x.cols % 4 == 0 && IsAligned(x, 4 * SizeOf(x.type)) &&
         !(exact && x.type == DType::kBF16);
}

Gate GateOf(Gelu gelu) { return gelu == Gelu::kTanh ? Gate::kTanh : Gate::kQuick; }

// `up`: of a pair, or null. `times`: of one weight's gate.
cudaError_t LaunchProduct(cudaStream_t stream, Mat y, Mat x, const Weight& w, const Weight* up,
                          Gate gate, Mat times, bool exact) {
  if (y.rows == 0) return cudaSuccess;
  const Tiles& tiles = TilesOf(w);
  const Product p{.strips = {tiles.data, up == nullptr ? nullptr : TilesOf(*up).data},
                  .strip_bytes = tiles.StripBytes(),
                  .tiles_bytes = tiles.TilesBytes(),
                  .outs = tiles.rows,
                  .chunks = tiles.Chunks(),
                  .x = OperandOf(x, w),
                  .y = y.data,
                  .y_pitch = static_cast<size_t>(y.pitch),
                  .y_is_bfloat16 = y.type == DType::kBF16,
                  .lo = w.out_lo,
                  .hi = w.out_hi,
                  .gate = gate,
                  .times = ViewOf<const float>(times)};
  const Input input = exact                    ? Input::kExact
                      : x.type == DType::kBF16 ? Input::kBFloat16
                                               : Input::kFloat32;
  const MatmulShape shape =
      MatmulShapeOf(x.rows, tiles.Strips(), up != nullptr, exact, CanDecode(x, w, exact));
  switch (tiles.format) {
    case Format::kF32:
      return LaunchFormat<Format::kF32>(stream, shape, p, input);
    case Format::kF16:
      return LaunchFormat<Format::kF16>(stream, shape, p, input);
    case Format::kBF16:
      return LaunchFormat<Format::kBF16>(stream, shape, p, input);
    case Format::kQ4_0:
      return LaunchFormat<Format::kQ4_0>(stream, shape, p, input);
    case Format::kQ5_1:
      return LaunchFormat<Format::kQ5_1>(stream, shape, p, input);
    case Format::kQ8_0:
      return LaunchFormat<Format::kQ8_0>(stream, shape, p, input);
    case Format::kQ2_K:
      return LaunchFormat<Format::kQ2_K>(stream, shape, p, input);
    case Format::kQ4_K:
      return LaunchFormat<Format::kQ4_K>(stream, shape, p, input);
    case Format::kQ5_K:
      return LaunchFormat<Format::kQ5_K>(stream, shape, p, input);
    case Format::kQ6_K:
      return LaunchFormat<Format::kQ6_K>(stream, shape, p, input);
    case Format::kIQ4_XS:
      return LaunchFormat<Format::kIQ4_XS>(stream, shape, p, input);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t LaunchMatmul(cudaStream_t stream, Mat y, Mat x, const Weight& w, bool exact) {
  return LaunchProduct(stream, y, x, w, nullptr, Gate::kNone, {}, exact);
}

cudaError_t LaunchMatmulGelu(cudaStream_t stream, Mat y, Mat x, const Weight& w, Mat times,
                             Gelu gelu, bool exact) {
  return LaunchProduct(stream, y, x, w, nullptr, GateOf(gelu), times, exact);
}

bool CanGate(const Weight& gate, const Weight& up) {
  const auto clamps = [](const Weight& w) {
    return w.in_lo > -INFINITY || w.in_hi < INFINITY || w.out_lo > -INFINITY || w.out_hi < INFINITY;
  };
  return TilesOf(gate).format == TilesOf(up).format && gate.rows == up.rows &&
         gate.cols == up.cols && !clamps(gate) && !clamps(up);
}

cudaError_t LaunchGatedMatmul(cudaStream_t stream, Mat y, Mat x, const Weight& gate,
                              const Weight& up, Gelu gelu, bool exact) {
  return LaunchProduct(stream, y, x, gate, &up, GateOf(gelu), {}, exact);
}

}  // namespace softsplice::cuda
