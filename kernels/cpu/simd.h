// One vector vocabulary for the bodies that are compiled once per instruction set. The build sets
// SIMD_NAMESPACE and SIMD_LANES (floats per vector). Everything is internal to the including file,
// which may include only this, C headers and kernels/mat.h and kernels/cpu/ops.h: an inline
// function of the standard library compiled here could be the copy that the linker keeps for all.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "kernels/mat.h"

#if !defined(SIMD_NAMESPACE) || !defined(SIMD_LANES)
#error "only for files compiled once per instruction set (see kernels/cpu/CMakeLists.txt)"
#endif

#define SIMD_INLINE static inline __attribute__((always_inline))
#define SIMD_INLINE_MEMBER inline __attribute__((always_inline))

namespace softsplice::SIMD_NAMESPACE {

constexpr int kLanes = SIMD_LANES;
constexpr int kPanel = 2 * kLanes;  // columns or outputs side by side in packed memory

typedef float vf __attribute__((vector_size(SIMD_LANES * 4)));
typedef int32_t vi __attribute__((vector_size(SIMD_LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(SIMD_LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(SIMD_LANES * 2)));  // halves, as bits

// Calls f.template operator()<R>(args...) with R = rows, 1 to kMost.
template <int kMost, class F, class... Args>
SIMD_INLINE void WithRows(int rows, F f, Args&... args) {
  if constexpr (kMost > 0) {
    if (rows == kMost) return f.template operator()<kMost>(args...);
    WithRows<kMost - 1>(rows, f, args...);
  }
}

SIMD_INLINE vf Set(float x) { return x - vf{}; }
SIMD_INLINE vf Load(const float* p) {
  vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
SIMD_INLINE void Store(float* p, vf v) { __builtin_memcpy(p, &v, sizeof v); }
// The first n < kLanes lanes; the others load as zero and are not stored.
SIMD_INLINE vf LoadPart(const float* p, int n) {
  vf v = {};
  __builtin_memcpy(&v, p, static_cast<unsigned>(n) * sizeof(float));
  return v;
}
SIMD_INLINE void StorePart(float* p, vf v, int n) {
  __builtin_memcpy(p, &v, static_cast<unsigned>(n) * sizeof(float));
}

// a * b + c in one rounding where the instruction set has it: always through this function, so
// that every copy of a loop rounds alike.
SIMD_INLINE vf Fma(vf a, vf b, vf c) { return a * b + c; }
#if defined(__AVX512F__) && SIMD_LANES == 16
SIMD_INLINE vf Max(vf a, vf b) { return _mm512_max_ps(a, b); }
SIMD_INLINE vf Min(vf a, vf b) { return _mm512_min_ps(a, b); }
#elif SIMD_LANES == 8
SIMD_INLINE vf Max(vf a, vf b) { return _mm256_max_ps(a, b); }
SIMD_INLINE vf Min(vf a, vf b) { return _mm256_min_ps(a, b); }
#else
SIMD_INLINE vf Max(vf a, vf b) { return a > b ? a : b; }
SIMD_INLINE vf Min(vf a, vf b) { return a < b ? a : b; }
#endif
// Keeps v in a register: the compiler would rather read memory again for every use.
SIMD_INLINE void Keep(vf& v) {
#if defined(__AVX512F__) || SIMD_LANES == 8
  asm("" : "+v"(v));
#else
  (void)v;
#endif
}
SIMD_INLINE vi Bits(vf v) { return reinterpret_cast<vi>(v); }
SIMD_INLINE vf FromBits(vi v) { return reinterpret_cast<vf>(v); }

// Halves of v joined by f until four lanes are left: lane i with lane i + n/2.
template <class F>
SIMD_INLINE __m128 Fold(vf v, F f) {
  __m128 quarter[kLanes / 4];
  __builtin_memcpy(quarter, &v, sizeof v);
#pragma GCC unroll 2
  for (int n = kLanes / 8; n > 0; n /= 2) {
#pragma GCC unroll 2
    for (int i = 0; i < n; ++i) quarter[i] = f(quarter[i], quarter[i + n]);
  }
  return quarter[0];
}
SIMD_INLINE __m128 FoldSum(vf v) {
  return Fold(v, [](__m128 a, __m128 b) { return a + b; });
}
// Sums and maximum of the lanes. Both sums are in one order.
SIMD_INLINE float Sum(vf v) {
  __m128 x = FoldSum(v);
  x = x + _mm_movehl_ps(x, x);
  return x[0] + x[1];
}
SIMD_INLINE void StoreLaneSums(float* p, vf a, vf b) {
  const __m128 x = FoldSum(a);
  const __m128 y = FoldSum(b);
  const __m128 half = _mm_unpacklo_ps(x, y) + _mm_unpackhi_ps(x, y);
  const __m128 sums = half + _mm_movehl_ps(half, half);
  __builtin_memcpy(p, &sums, 2 * sizeof(float));
}
SIMD_INLINE float MaxLane(vf v) {
  __m128 x = Fold(v, [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return x[0] > x[1] ? x[0] : x[1];
}

// e^x within about 1.5 ulp; 0 below -87.3 (so 0 for -inf), saturated above 88.3; exactly 1 at 0;
// NaN stays NaN. Cephes' polynomial after x = n ln 2 + r.
SIMD_INLINE vf Exp(vf x) {
  constexpr float kRound = 0x1.8p23f;
  const vf clamped = Min(Set(88.37626f), x);  // in this order Min keeps what is not a number
  const vf shifted = Fma(clamped, Set(1.44269504f), Set(kRound));
  const vf n = shifted - kRound;
  vf r = Fma(n, Set(-0.693359375f), clamped);
  r = Fma(n, Set(2.12194440e-4f), r);
  vf p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, r * r, r) + 1.0f;
  const vi scale = (Bits(shifted) - Bits(Set(kRound)) + 127) << 23;
  return x < -87.33654f ? vf{} : p * FromBits(scale);
}

// 1 / (1 + e^-x), accurate relative to its value.
SIMD_INLINE vf Sigmoid(vf x) { return 1.0f / (1.0f + Exp(-x)); }

// tanh within about 2 ulp: Cephes' polynomial near 0, by e^x elsewhere.
SIMD_INLINE vf Tanh(vf x) {
  const vf z = x * x;
  vf p = Set(-5.70498872745e-3f);
  p = Fma(p, z, Set(2.06390887954e-2f));
  p = Fma(p, z, Set(-5.37397155531e-2f));
  p = Fma(p, z, Set(1.33314422036e-1f));
  p = Fma(p, z, Set(-3.33332819422e-1f));
  const vf near = Fma(p * z, x, x);
  const vf far = 1.0f - 2.0f / (Exp(x + x) + 1.0f);
  return z < 0.390625f ? near : far;
}

// Half-precision bits to float32, exact; float32 to half bits, nearest even.
SIMD_INLINE vf Load(const uint16_t* p) {
#if defined(__AVX512F__) && SIMD_LANES == 16
  return reinterpret_cast<vf>(
      _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__) && SIMD_LANES == 8
  return reinterpret_cast<vf>(
      _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
  vh half;
  __builtin_memcpy(&half, p, sizeof half);
  const vu h = __builtin_convertvector(half, vu);
  // The exponent is too small by 112: multiplying also normalises subnormals.
  const vu scaled =
      reinterpret_cast<vu>(FromBits(reinterpret_cast<vi>((h & 0x7fff) << 13)) * 0x1p112f);
  const vu special = (h & 0x7c00) == 0x7c00 ? vu{} + 0x7f800000u : vu{};
  return reinterpret_cast<vf>(scaled | special | (h & 0x8000) << 16);
#endif
}
SIMD_INLINE void Store(uint16_t* p, vf v) {
#if defined(__AVX512F__) && SIMD_LANES == 16
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(reinterpret_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__) && SIMD_LANES == 8
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(reinterpret_cast<__m256>(v), _MM_FROUND_TO_NEAREST_INT));
#else
  const vu bits = reinterpret_cast<vu>(v);
  const vu sign = bits & 0x80000000u;
  const vu mag = bits ^ sign;
  // Normal results: rebias the exponent and round half to even on bit 13.
  const vu normal = (mag - (112u << 23) + 0xfff + (mag >> 13 & 1)) >> 13;
  // Subnormal results: adding 0.5 makes the adder shift and round.
  const vu small = reinterpret_cast<vu>(reinterpret_cast<vf>(mag) + 0.5f) - 0x3f000000u;
  const vu special = mag > 0x7f800000u ? vu{} + 0x7e00u : vu{} + 0x7c00u;
  vu half = mag < (113u << 23) ? small : normal;
  half = mag >= (143u << 23) ? special : half;
  const vh out = __builtin_convertvector(half | sign >> 16, vh);
  __builtin_memcpy(p, &out, sizeof out);
#endif
}

SIMD_INLINE float* RowOf(Mat m, int row) {
  return static_cast<float*>(m.data) + static_cast<size_t>(row) * static_cast<size_t>(m.pitch);
}
SIMD_INLINE int IndexOf(Mat index, int i) {
  return static_cast<const int32_t*>(
      index.data)[static_cast<size_t>(i) * static_cast<size_t>(index.pitch)];
}
// The run of rows that holds `row`, from `run` on.
SIMD_INLINE int RunOf(Mat starts, int run, int row) {
  while (IndexOf(starts, run + 1) <= row) ++run;
  return run;
}

}  // namespace softsplice::SIMD_NAMESPACE
