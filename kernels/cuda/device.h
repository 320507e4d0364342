// The language of our kernels: CUDA C++, and functions for what CUDA has in PTX only. A host
// compiler reads the same sources for the tests: it finds headers of these names in
// tests/kernels/emulated, where a CUDA thread is a fiber.
//
// Rules, which the emulation holds kernels to: blocks are whole warps and masks are full; all
// shared memory is Shared<T>(); no block waits for another one; every thread calls
// WaitForPrevious(). Included by .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#ifndef __CUDACC__
#include "emulation.h"
#else
namespace softsplice::cuda {

// A block gets `shared` bytes of shared memory (227 KiB at most). The kernel may start while its
// predecessor in the stream still runs. Of no blocks in x: does nothing.
template <class... P, class... A>
cudaError_t Launch(cudaStream_t stream, dim3 blocks, dim3 threads, size_t shared,
                   void (*kernel)(P...), A... args) {
  if (blocks.x == 0) return cudaSuccess;
  if (shared > size_t{48} << 10) {
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute overlap{.id = cudaLaunchAttributeProgrammaticStreamSerialization};
  overlap.val.programmaticStreamSerializationAllowed = 1;
  const cudaLaunchConfig_t config{blocks, threads, shared, stream, &overlap, 1};
  return cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
}

// Waits until all kernels before this one in the stream are done. Before it a kernel may read
// weights and indices, which no kernel writes, and write nothing: buffers are used again. Also a
// kernel that reads nothing of its predecessor waits, or its successor would not be ordered behind
// that one. The successor may start as soon as all blocks of this one have: it waits in its turn,
// its weights on their way.
__device__ inline void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}

// All of the block's shared memory, as one object.
template <class T>
__device__ T& Shared() {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  return *reinterpret_cast<T*>(shared_memory);
}

}  // namespace softsplice::cuda

#include "kernels/cuda/ptx.h"
#include "kernels/cuda/ptx_atomic.h"
#include "kernels/cuda/warpgroup.h"
#endif

namespace softsplice::cuda {

__device__ inline float BFloat16ToFloat(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
__device__ inline uint16_t FloatToBFloat16(float x) {
  return static_cast<uint16_t>(PackBFloat16(x, 0));
}

}  // namespace softsplice::cuda
