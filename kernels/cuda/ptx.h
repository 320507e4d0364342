// The instructions that CUDA has in PTX only, a function each. Included by device.h, which is where
// kernels find them.
#pragma once

#include <cstdint>

namespace softsplice::cuda {

// d += a b, by a warp: a [16, 16] and b [16, 8] bfloat16, d [16, 8] float32. With g = lane / 4 and
// t = lane % 4 a lane holds of a, in order, row g at columns 2t + {0, 1}, row g + 8 there, row g at
// columns 2t + 8 + {0, 1}, row g + 8 there; of b column g at rows 2t + {0, 1} and 2t + 8 + {0, 1};
// of d row g at columns 2t + {0, 1}, row g + 8 there. The first of two is the low half of a word.
__device__ inline void Mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// The same of float16 inputs.
__device__ inline void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// N = 1, 2 or 4 matrices of 8 x 8 numbers of 16 bits from shared memory, by a warp: lane 8i + r
// gives the address of matrix i's row r (16 bytes, aligned to 16; lanes from 8N on: any such
// address). With g = lane / 4 and t = lane % 4 a lane gets of matrix i row g at columns 2t + {0,
// 1}.
template <int N>
__device__ void LoadMatrix(uint32_t (&d)[N], const void* row) {
  static_assert(N == 1 || N == 2 || N == 4);
  const uint32_t at = SharedAddress(row);
  if constexpr (N == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(d[0])
                 : "r"(at)
                 : "memory");
  } else if constexpr (N == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(d[0]), "=r"(d[1])
                 : "r"(at)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(at)
                 : "memory");
  }
}
// The same, each matrix transposed: a lane gets column g at rows 2t + {0, 1}.
template <int N>
__device__ void LoadMatrixTransposed(uint32_t (&d)[N], const void* row) {
  static_assert(N == 1 || N == 2 || N == 4);
  const uint32_t at = SharedAddress(row);
  if constexpr (N == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(d[0])
                 : "r"(at)
                 : "memory");
  } else if constexpr (N == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(d[0]), "=r"(d[1])
                 : "r"(at)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(at)
                 : "memory");
  }
}

// Begins to copy 16 or 8 bytes from global to shared memory, both aligned to as many; not live:
// writes zeroes and reads nothing. CommitCopies() makes a group of the thread's copies since the
// last one; WaitForCopies<N>() waits for all groups but the thread's newest N. Other threads see
// the copies after a barrier that follows the wait.
template <int kBytes = 16>
__device__ void CopyAsync(void* to, const void* from, bool live = true) {
  static_assert(kBytes == 16 || kBytes == 8);
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(to)),
                 "l"(from), "r"(live ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(SharedAddress(to)), "l"(from),
                 "r"(live ? 8 : 0)
                 : "memory");
  }
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
__device__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Begins to bring memory of the device into the L2, or does nothing. Both multiples of 16.
__device__ inline void PrefetchL2([[maybe_unused]] const void* from,
                                  [[maybe_unused]] uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
#endif
}

// Float16 as bits; rounded to nearest even. Two in a word: the first one low.
__device__ inline float HalfToFloat(uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
__device__ inline uint16_t FloatToHalf(float x) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
__device__ inline uint32_t PackHalf(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}
// Bfloat16, the same way.
__device__ inline uint32_t PackBFloat16(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}
// 2^x to 2^-22 of it; 0 below the normal numbers.
__device__ inline float Exp2(float x) {
  asm("ex2.approx.ftz.f32 %0, %0;" : "+f"(x));
  return x;
}
// (a & mask) | bits in one instruction: the compiler takes two where both are constants.
__device__ inline uint32_t MaskedOr(uint32_t a, uint32_t mask, uint32_t bits) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(mask), "r"(bits));
  return d;
}
// a - b of two pairs of bfloat16.
__device__ inline uint32_t SubtractBFloat16(uint32_t a, uint32_t b) {
  uint32_t pair;  // 1 a - b
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(0x3f803f80), "r"(a), "r"(b ^ 0x80008000));
  return pair;
}

}  // namespace softsplice::cuda
