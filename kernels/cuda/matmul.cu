// See matmul.h.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matmul_launch.h"
#include "kernels/cuda/operand.h"

namespace softsplice::cuda {
namespace {

const Tiles& TilesOf(const Weight& w) {
  return static_cast<const PackedLinear*>(w.packed.get())->tiles;
}

bool IsAligned(const Mat& m, size_t bytes) {
  return reinterpret_cast<uintptr_t>(m.data) % bytes == 0 &&
         static_cast<size_t>(m.pitch) * SizeOf(m.type) % bytes == 0;
}

// Whether x is already what the weight clamps it to.
bool IsClamped(const Mat& x, const Weight& w) { return x.lo >= w.in_lo && x.hi <= w.in_hi; }

Operand OperandOf(const Mat& x, const Weight& w) {
  return {.data = x.data,
          .rows = x.rows,
          .cols = x.cols,
          .pitch = static_cast<size_t>(x.pitch),
          .is_bfloat16 = x.type == DType::kBF16,
          .lo = w.in_lo,
          .hi = w.in_hi,
          .part = 0};
}

// Whether x can be copied 16 bytes at a time, and stay as it is.
bool CopiesWhole(const Mat& x, const Weight& w) {
  return IsClamped(x, w) && static_cast<size_t>(x.cols) * SizeOf(x.type) % 16 == 0 &&
         IsAligned(x, 16);
}

bool CanDecode(const Mat& x, const Weight& w, bool exact) {
  return CopiesWhole(x, w) && !(exact && x.type == DType::kBF16);
}

bool Decodes(const Mat& x, const Weight& w, bool exact) {
  return x.rows <= MostDecoded(exact) && CanDecode(x, w, exact);
}

// Whether the prefill kernel takes x as it is: eight numbers in one copy.
bool Copies(const Mat& x, const Weight& w, bool exact) {
  return !exact && x.type == DType::kBF16 && CopiesWhole(x, w);
}

int WholeChunks(int cols) { return (cols + kChunk - 1) / kChunk * kChunk; }

// Makes x, which is `from`, what the prefill kernel takes, in `scratch`.
cudaError_t Round(cudaStream_t stream, Operand& x, const Mat& from, bool exact, uint16_t* scratch) {
  const int cols = WholeChunks(x.cols);
  const size_t part = static_cast<size_t>(x.rows) * static_cast<size_t>(cols);
  const size_t of_block = size_t{kOperandThreads} * kOperandNumbers;
  const bool whole = x.cols % kOperandNumbers == 0 && IsAligned(from, 16);
  const cudaError_t error = Launch(
      stream, dim3(static_cast<unsigned>((part + of_block - 1) / of_block)), dim3(kOperandThreads),
      0, exact ? RoundOperand<2> : RoundOperand<1>, scratch, x, cols, part, whole);
  x = {.data = scratch,
       .rows = x.rows,
       .cols = cols,
       .pitch = static_cast<size_t>(cols),
       .is_bfloat16 = true,
       .lo = x.lo,
       .hi = x.hi,
       .part = part};
  return error;
}

Gate GateOf(Gelu gelu) { return gelu == Gelu::kTanh ? Gate::kTanh : Gate::kQuick; }

// What becomes of an x and a weight, or several.
struct Call {
  absl::Span<const Linear> all;  // up to kMostOthers + 1, which AreAlike
  const Weight* up = nullptr;    // of a pair
  Gate gate = Gate::kNone;
  Mat times = {};  // of one weight's gate
};

Product ProductOf(const Call& call, const Mat& x) {
  const auto& [y, w] = call.all.front();
  const Tiles& tiles = TilesOf(*w);
  Product p{.strips = {tiles.data, call.up == nullptr ? nullptr : TilesOf(*call.up).data},
            .strip_bytes = tiles.StripBytes(),
            .tiles_bytes = tiles.TilesBytes(),
            .outs = tiles.rows,
            .chunks = tiles.Chunks(),
            .parts = tiles.parts,
            .x = OperandOf(x, *w),
            .y = y.data,
            .y_pitch = static_cast<size_t>(y.pitch),
            .y_is_bfloat16 = y.type == DType::kBF16,
            .y_lo = y.lo,
            .y_hi = y.hi,
            .lo = w->out_lo,
            .hi = w->out_hi,
            .up_lo = call.up == nullptr ? 0 : call.up->out_lo,
            .up_hi = call.up == nullptr ? 0 : call.up->out_hi,
            .gate = call.gate,
            .times = ViewOf<const float>(call.times),
            .others = {}};
  for (size_t i = 1; i < call.all.size(); ++i) {
    const auto& [other_y, other] = call.all[i];
    p.others[i - 1] = {.strips = TilesOf(*other).data,
                       .outs = TilesOf(*other).rows,
                       .y = other_y.data,
                       .y_pitch = static_cast<size_t>(other_y.pitch),
                       .lo = other->out_lo,
                       .hi = other->out_hi};
  }
  return p;
}

// Whether one launch can have both.
bool AreAlike(const Weight& a, const Weight& b) {
  return TilesOf(a).format == TilesOf(b).format && a.cols == b.cols &&
         TilesOf(a).parts == TilesOf(b).parts && a.in_lo == b.in_lo && a.in_hi == b.in_hi;
}
bool AreAlike(const Linear& a, const Linear& b) {
  return AreAlike(*a.w, *b.w) && a.y.type == b.y.type && a.y.lo == b.y.lo && a.y.hi == b.y.hi;
}

int MostStrips(absl::Span<const Linear> all) {
  int most = 0;
  for (const Linear& linear : all) most = std::max(most, TilesOf(*linear.w).Strips());
  return most;
}

cudaError_t LaunchCall(cudaStream_t stream, const Call& call, Mat x, const MatmulOptions& options,
                       uint16_t* scratch) {
  if (x.rows == 0) return cudaSuccess;
  const bool exact = options.exact;
  const Weight& w = *call.all.front().w;
  const Tiles& tiles = TilesOf(w);
  Product p = ProductOf(call, x);
  const Input input = exact                    ? Input::kExact
                      : x.type == DType::kBF16 ? Input::kBFloat16
                                               : Input::kFloat32;
  const MatmulShape shape = MatmulShapeOf(x.rows, MostStrips(call.all),
                                          {.gated = call.up != nullptr,
                                           .exact = exact,
                                           .is_bfloat16 = x.type == DType::kBF16,
                                           .many_strips = HasManyStrips(SpecOf(tiles.format)),
                                           .weights = static_cast<int>(call.all.size()),
                                           .can_decode = CanDecode(x, w, exact),
                                           .warpgroups = options.warpgroups,
                                           .many_tokens = HasManyTokens(SpecOf(tiles.format))});
  if (MatmulScratch(x, w, exact) > 0) {
    const cudaError_t error = Round(stream, p.x, x, exact, scratch);
    if (error != cudaSuccess) return error;
  }
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

bool HasWarpgroups([[maybe_unused]] const cudaDeviceProp& device) {
#ifdef SOFTSPLICE_WARPGROUPS
  return device.major == 9;
#else
  return false;
#endif
}

size_t MatmulScratch(const Mat& x, const Weight& w, bool exact) {
  if (Decodes(x, w, exact) || Copies(x, w, exact)) return 0;
  return static_cast<size_t>(exact ? 2 : 1) * static_cast<size_t>(x.rows) *
         static_cast<size_t>(WholeChunks(x.cols));
}

cudaError_t LaunchMatmuls(cudaStream_t stream, absl::Span<const Linear> all, Mat x,
                          const MatmulOptions& options, uint16_t* scratch) {
  while (!all.empty()) {
    size_t count = 1;
    while (count < all.size() && count <= kMostOthers && AreAlike(all[0], all[count])) ++count;
    const cudaError_t error =
        LaunchCall(stream, {.all = all.subspan(0, count)}, x, options, scratch);
    if (error != cudaSuccess) return error;
    all.remove_prefix(count);
  }
  return cudaSuccess;
}

cudaError_t LaunchMatmulGelu(cudaStream_t stream, Mat y, Mat x, const Weight& w, Mat times,
                             Gelu gelu, const MatmulOptions& options, uint16_t* scratch) {
  const Linear linear{y, &w};
  return LaunchCall(stream, {.all = {&linear, 1}, .gate = GateOf(gelu), .times = times}, x, options,
                    scratch);
}

cudaError_t LaunchMatmulSilu(cudaStream_t stream, Mat y, Mat x, const Weight& w,
                             const MatmulOptions& options, uint16_t* scratch) {
  const Linear linear{y, &w};
  return LaunchCall(stream, {.all = {&linear, 1}, .gate = Gate::kSelf}, x, options, scratch);
}

bool CanGate(const Weight& gate, const Weight& up) {
  return AreAlike(gate, up) && gate.rows == up.rows;
}

cudaError_t LaunchGatedMatmul(cudaStream_t stream, Mat y, Mat x, const Weight& gate,
                              const Weight& up, Gelu gelu, const MatmulOptions& options,
                              uint16_t* scratch) {
  const Linear linear{y, &gate};
  return LaunchCall(stream, {.all = {&linear, 1}, .up = &up, .gate = GateOf(gelu)}, x, options,
                    scratch);
}

}  // namespace softsplice::cuda
