// Picks the kernel of one format.
#pragma once

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matmul_decode.h"
#include "kernels/cuda/matmul_prefill.h"
#include "kernels/cuda/matmul_warpgroup.h"

namespace softsplice::cuda {

template <Format kFormat, Input kInput, int kStrips, int kTokenTiles>
cudaError_t LaunchDecode(cudaStream_t stream, const MatmulShape& shape, const Product& p) {
  return Launch(stream, dim3(shape.blocks_x, shape.blocks_y, shape.blocks_z), dim3(kMatmulThreads),
                sizeof(DecodeMemory<kFormat, kInput, kStrips, kTokenTiles>),
                DecodeMatmul<kFormat, kInput, kStrips, kTokenTiles>, p);
}

template <Format kFormat, Input kInput>
cudaError_t LaunchDecode(cudaStream_t stream, const MatmulShape& shape, const Product& p) {
  if (shape.strips == 1) return LaunchDecode<kFormat, kInput, 1, 1>(stream, shape, p);
  if (shape.token_tiles == 1) return LaunchDecode<kFormat, kInput, 2, 1>(stream, shape, p);
  if constexpr (kInput == Input::kBFloat16) {
    return LaunchDecode<kFormat, kInput, 2, kManyTokenTiles>(stream, shape, p);
  } else if constexpr (kInput == Input::kFloat32) {
    return LaunchDecode<kFormat, kInput, 2, kFewTokenTiles>(stream, shape, p);
  }
  return cudaErrorInvalidValue;
}

template <Format kFormat, int kXParts, int kStrips>
cudaError_t LaunchPrefill(cudaStream_t stream, const MatmulShape& shape, const Product& p) {
  constexpr size_t kShared = sizeof(typename Prefill<kFormat, kXParts, kStrips>::Memory);
  static_assert(kShared <= kSharedOfBlock);
  return Launch(stream, dim3(shape.blocks_x, shape.blocks_y, shape.blocks_z), dim3(kMatmulThreads),
                kShared, PrefillMatmul<kFormat, kXParts, kStrips>, p);
}

template <Format kFormat, int kTokenTiles>
cudaError_t LaunchWarpgroups(cudaStream_t stream, const MatmulShape& shape, const Product& p) {
  constexpr size_t kShared = sizeof(typename Warpgroups<kFormat, kTokenTiles>::Memory);
  static_assert(kShared <= kSharedOfMultiprocessor);
  return Launch(stream, dim3(shape.blocks_x, shape.blocks_y, shape.blocks_z), dim3(kMatmulThreads),
                kShared, WarpgroupMatmul<kFormat, kTokenTiles>, p);
}

template <Format kFormat>
cudaError_t LaunchFormat(cudaStream_t stream, const MatmulShape& shape, const Product& p,
                         Input input) {
  if (shape.warpgroups) {
    if constexpr (HasManyTokens(SpecOf(kFormat))) {
      if (shape.token_tiles == kManyWarpgroupTiles) {
        return LaunchWarpgroups<kFormat, kManyWarpgroupTiles>(stream, shape, p);
      }
    }
    return LaunchWarpgroups<kFormat, kFewWarpgroupTiles>(stream, shape, p);
  }
  if (!shape.decode) {
    if (input == Input::kExact) return LaunchPrefill<kFormat, 2, kFewStrips>(stream, shape, p);
    if constexpr (HasManyStrips(SpecOf(kFormat))) {
      if (shape.strips == kManyStrips) {
        return LaunchPrefill<kFormat, 1, kManyStrips>(stream, shape, p);
      }
    }
    return LaunchPrefill<kFormat, 1, kFewStrips>(stream, shape, p);
  }
  switch (input) {
    case Input::kBFloat16:
      return LaunchDecode<kFormat, Input::kBFloat16>(stream, shape, p);
    case Input::kFloat32:
      return LaunchDecode<kFormat, Input::kFloat32>(stream, shape, p);
    case Input::kExact:
      return LaunchDecode<kFormat, Input::kExact>(stream, shape, p);
  }
  return cudaErrorInvalidValue;
}

}  // namespace softsplice::cuda
