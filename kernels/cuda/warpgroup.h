// Products of a warpgroup: four warps whose first is a multiple of four, on devices of compute
// capability 9.0 alone. Included by device.h, which is where kernels find them.
#pragma once

#include <cstdint>

#include "kernels/cuda/ptx.h"

// Whether this pass of the compiler is for a device that has them.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define SOFTSPLICE_HAS_WARPGROUPS 1
#else
#define SOFTSPLICE_HAS_WARPGROUPS 0
#endif

namespace softsplice::cuda {

// A place in shared memory as the tensor core wants it: rows of 128 bytes, eight pieces of 16 bytes
// each, of which piece p of row r stands at p ^ r % 8; the first row at a multiple of 1,024.
__device__ inline uint64_t SwizzledRows(const void* first_piece) {
  constexpr uint64_t kEightRows = 1024 / 16, kSwizzle = uint64_t{1} << 62;
  return SharedAddress(first_piece) / 16 | uint64_t{1} << 16 | kEightRows << 32 | kSwizzle;
}

// clang-format off
#define SOFTSPLICE_TILE(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define SOFTSPLICE_8_TILES(i) \
  SOFTSPLICE_TILE(i), SOFTSPLICE_TILE(i + 1), SOFTSPLICE_TILE(i + 2), SOFTSPLICE_TILE(i + 3), \
  SOFTSPLICE_TILE(i + 4), SOFTSPLICE_TILE(i + 5), SOFTSPLICE_TILE(i + 6), SOFTSPLICE_TILE(i + 7)
// clang-format on

// Begins d += a x^T, or (not adds) d = a x^T, by all warps of a warpgroup. a is the warp's own [16,
// 16] bfloat16 as Mma's; x are columns [16 step, 16 step + 16) of 8 kTokenTiles SwizzledRows that
// start at `rows`; d [16, 8] of each tile of eight tokens, as Mma's. Until they are waited for, a,
// d and x are the tensor core's: what is done with d, and to a and x, waits.
template <int kTokenTiles>
__device__ __forceinline__ void BeginProducts(float (&d)[kTokenTiles][4], const uint32_t (&a)[4],
                                              const void* rows, int step, bool adds) {
  static_assert(kTokenTiles == 8 || kTokenTiles == 16);
  const uint64_t x = SwizzledRows(rows) + static_cast<uint64_t>(2 * step);
  const int scale_d = adds ? 1 : 0;
  if constexpr (kTokenTiles == 8) {
    asm volatile(
        "{.reg .pred p;\n"
        "setp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, p, 1, 1, 0;}"
        : SOFTSPLICE_8_TILES(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(x), "r"(scale_d)
        : "memory");
  } else {
    asm volatile(
        "{.reg .pred p;\n"
        "setp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, p, 1, 1, 0;}"
        : SOFTSPLICE_8_TILES(0), SOFTSPLICE_8_TILES(8)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(x), "r"(scale_d)
        : "memory");
  }
}

// Before the first of a group of products: what was written to their registers is there, that to
// those of a before this. (Copies to x that were waited for need no fence of their own, which would
// wait for those on their way too.)
template <int kSteps, int kParts>
__device__ __forceinline__ void FenceRegisters(uint32_t (&a)[kSteps][kParts][4]) {
#pragma unroll
  for (auto& step : a) {
#pragma unroll
    for (auto& part : step) {
      asm volatile("" : "+r"(part[0]), "+r"(part[1]), "+r"(part[2]), "+r"(part[3]) : : "memory");
    }
  }
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// Closes a group.
__device__ __forceinline__ void CommitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits for all groups but the newest kGroups.
template <int kGroups>
__device__ __forceinline__ void WaitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
}
// The same; d, which is of none of those, is read from here on.
template <int kGroups, int kTokenTiles>
__device__ __forceinline__ void WaitForProducts(float (&d)[kTokenTiles][4]) {
  if constexpr (kTokenTiles == 8) {
    asm volatile("wgmma.wait_group.sync.aligned %32;"
                 : SOFTSPLICE_8_TILES(0)
                 : "n"(kGroups)
                 : "memory");
  } else {
    asm volatile("wgmma.wait_group.sync.aligned %64;"
                 : SOFTSPLICE_8_TILES(0), SOFTSPLICE_8_TILES(8)
                 : "n"(kGroups)
                 : "memory");
  }
}
#undef SOFTSPLICE_8_TILES
#undef SOFTSPLICE_TILE

}  // namespace softsplice::cuda
