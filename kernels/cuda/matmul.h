// Linear layers on tensor cores. Weights are exact (float32: to 2^-17 of each); x is rounded once
// to bfloat16, or (exact) split into two such parts, which keep 2^-17 of each number. Sums are
// float32 and in one order (tiles.h): a row of y has the same bits whatever other rows there are.
#pragma once

#include <cuda_runtime.h>

#include <memory>

#include "absl/types/span.h"
#include "kernels/cuda/tiles.h"
#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

// What the `packed` of a linear layer's Weight points to.
struct PackedLinear {
  Tiles tiles;
  std::shared_ptr<void> memory;
};

// Whether the prefill kernel is there for many strips of a warp, too (shapes.h).
constexpr bool HasManyStrips(const FormatSpec& spec) { return spec.HasSuper() && !spec.HasMin(); }

// Whether that of warpgroups is there for many tokens, too: registers do not always do.
constexpr bool HasManyTokens(const FormatSpec& spec) { return spec.scales != Scales::kHalfAndMin; }

// How a device multiplies.
struct MatmulOptions {
  bool exact = false;       // x is split in two
  bool warpgroups = false;  // HasWarpgroups()
};
// Whether the device has the products of warpgroup.h, and this program is built for them.
bool HasWarpgroups(const cudaDeviceProp& device);

// What the launches below need to work in, in numbers of 16 bits: `scratch`.
size_t MatmulScratch(const Mat& x, const Weight& w, bool exact);

// Each y = clamp(clamp(x) W^T): x [rows, W.cols] and y [rows, W.rows], float32 or bfloat16. Up to
// three neighbours that are alike are one launch. `scratch` as for the one that needs most.
cudaError_t LaunchMatmuls(cudaStream_t stream, absl::Span<const Linear> all, Mat x,
                          const MatmulOptions& options, uint16_t* scratch);

// y = gelu(clamp(clamp(x) W^T)) * times, the same sums; times: float32, [rows, W.rows].
cudaError_t LaunchMatmulGelu(cudaStream_t stream, Mat y, Mat x, const Weight& w, Mat times,
                             Gelu gelu, const MatmulOptions& options, uint16_t* scratch);

// y = silu(clamp(clamp(x) W^T)), the same sums.
cudaError_t LaunchMatmulSilu(cudaStream_t stream, Mat y, Mat x, const Weight& w,
                             const MatmulOptions& options, uint16_t* scratch);

// Whether one launch can do both: weights of one shape and format, that clamp x alike.
bool CanGate(const Weight& gate, const Weight& up);
// y = gelu(clamp(clamp(x) gate^T)) * clamp(clamp(x) up^T), the same sums as LaunchMatmuls';
// CanGate(gate, up).
cudaError_t LaunchGatedMatmul(cudaStream_t stream, Mat y, Mat x, const Weight& gate,
                              const Weight& up, Gelu gelu, const MatmulOptions& options,
                              uint16_t* scratch);

}  // namespace softsplice::cuda
