// Integer dot products of 4 bytes per lane, the step of all quantised kernels.
#pragma once

#include "kernels/cpu/matmul/bodies.h"

namespace softsplice::SIMD_NAMESPACE {

SIMD_INLINE vi LoadInts(const void* p) {
  vi v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
SIMD_INLINE vi Repeat(const void* four_bytes) {
  int32_t x;
  __builtin_memcpy(&x, four_bytes, sizeof x);
  return vi{} + x;
}
// One byte per lane.
SIMD_INLINE vi LoadBytes(const int8_t* p) {
#if SIMD_LANES == 8
  return reinterpret_cast<vi>(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX512F__)
  return reinterpret_cast<vi>(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
  vi v;
  for (int i = 0; i < kLanes; ++i) v[i] = p[i];
  return v;
#endif
}
SIMD_INLINE vi LoadBytes(const uint8_t* p) {
  return LoadBytes(reinterpret_cast<const int8_t*>(p)) & 0xff;
}
SIMD_INLINE vf ToFloat(vi v) { return __builtin_convertvector(v, vf); }

// The value, computed here: g++ would delay all additions of an unrolled loop to its end, and spill
// what they add.
template <class V>
SIMD_INLINE V Now(V v) {
#if SIMD_LANES < 16 || defined(__AVX512F__)
  asm("" : "+v"(v));
#endif
  return v;
}

// sum + the 4 products u * a of each lane, u unsigned and a signed bytes. Not on AVX2, which has
// the 16-bit step below instead.
#if SIMD_LANES == 16 && defined(__AVX512VNNI__)
SIMD_INLINE vi Dot(vi sum, vi u, vi a) {
  return reinterpret_cast<vi>(_mm512_dpbusd_epi32(
      reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(u), reinterpret_cast<__m512i>(a)));
}
#elif SIMD_LANES != 8
SIMD_INLINE __m128i DotQuad(__m128i sum, __m128i u, __m128i a) {
  const __m128i even_u = _mm_and_si128(u, _mm_set1_epi16(255));
  const __m128i even_a = _mm_srai_epi16(_mm_slli_epi16(a, 8), 8);
  const __m128i odd = _mm_madd_epi16(_mm_srli_epi16(u, 8), _mm_srai_epi16(a, 8));
  return _mm_add_epi32(sum, _mm_add_epi32(odd, _mm_madd_epi16(even_u, even_a)));
}
SIMD_INLINE vi Dot(vi sum, vi u, vi a) {
  union Quads {
    vi whole;
    __m128i quad[SIMD_LANES / 4];
  };
  Quads s = {sum};
  const Quads us = {u};
  const Quads as = {a};
  for (int i = 0; i < SIMD_LANES / 4; ++i) s.quad[i] = DotQuad(s.quad[i], us.quad[i], as.quad[i]);
  return s.whole;
}
#endif

#if SIMD_LANES == 8
SIMD_INLINE __m256i Raw(vi v) { return reinterpret_cast<__m256i>(v); }
// The products of pairs of bytes, added in 16 bits (saturating: u must be small enough).
SIMD_INLINE vi DotPairs(vi u, vi a) {
  return reinterpret_cast<vi>(_mm256_maddubs_epi16(Raw(u), Raw(a)));
}
SIMD_INLINE vi AddPairs(vi x, vi y) {
  return reinterpret_cast<vi>(_mm256_add_epi16(Raw(x), Raw(y)));
}
SIMD_INLINE vi MultiplyPairs(vi x, vi y) {
  return reinterpret_cast<vi>(_mm256_madd_epi16(Raw(x), Raw(y)));
}
SIMD_INLINE vi OnePairs() { return reinterpret_cast<vi>(_mm256_set1_epi16(1)); }

// Sums of u * a over steps, for a in [-127, 127] and small u: 32 codes below 16 or 16 codes below
// 32 per lane. Here lanes hold two 16-bit sums.
SIMD_INLINE vi SmallDot(vi sum, vi u, vi a) { return Now(AddPairs(sum, DotPairs(u, a))); }
SIMD_INLINE vi SmallDotSum(vi sum) { return MultiplyPairs(sum, OnePairs()); }
// A start of `two` 16-bit numbers, which add up to the start of each lane's sum.
SIMD_INLINE vi SmallDotStart(const int16_t* two) { return Repeat(two); }

// sum + scale * the sum of (u - 32) * a over 4 steps, u below 64.
SIMD_INLINE vi ScaledDot(vi sum, const vi u[4], const int8_t* a, vi scale, int32_t sum_a) {
  const vi twice = (scale & 0xffff) | (scale << 16);
  sum -= scale * (32 * sum_a);
  const vi first = AddPairs(DotPairs(u[0], Repeat(a)), DotPairs(u[1], Repeat(a + 4)));
  sum = Now(sum + MultiplyPairs(first, twice));
  const vi second = AddPairs(DotPairs(u[2], Repeat(a + 8)), DotPairs(u[3], Repeat(a + 12)));
  return Now(sum + MultiplyPairs(second, twice));
}

// Sums of w * a for signed bytes of any size.
SIMD_INLINE vi SignedDot(vi sum, vi w, vi a) {
  const vi size = reinterpret_cast<vi>(_mm256_abs_epi8(Raw(w)));
  const vi toward = reinterpret_cast<vi>(_mm256_sign_epi8(Raw(a), Raw(w)));
  return Now(sum + MultiplyPairs(DotPairs(size, toward), OnePairs()));
}
SIMD_INLINE vi SignedDotStart(int32_t) { return vi{}; }
#else
SIMD_INLINE vi SmallDot(vi sum, vi u, vi a) { return Dot(sum, u, a); }
SIMD_INLINE vi SmallDotSum(vi sum) { return sum; }
SIMD_INLINE vi SmallDotStart(const int16_t* two) { return vi{} + (two[0] + two[1]); }

SIMD_INLINE vi ScaledDot(vi sum, const vi u[4], const int8_t* a, vi scale, int32_t sum_a) {
  vi dot = vi{} - 32 * sum_a;
  for (int i = 0; i < 4; ++i) dot = Dot(dot, u[i], Repeat(a + 4 * i));
  return sum + scale * dot;
}

// As unsigned bytes w + 128; the start takes 128 times the sum of the a back.
SIMD_INLINE vi SignedDot(vi sum, vi w, vi a) {
  return Dot(sum, w ^ static_cast<int32_t>(0x80808080), a);
}
SIMD_INLINE vi SignedDotStart(int32_t sum_a) { return vi{} - 128 * sum_a; }
#endif

}  // namespace softsplice::SIMD_NAMESPACE
