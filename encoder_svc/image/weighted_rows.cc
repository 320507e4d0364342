// See weighted_rows.h.
#include "encoder_svc/image/weighted_rows.h"

#include <immintrin.h>

#include <algorithm>

namespace softsplice {
namespace {

constexpr int32_t kHalf = 1 << (kWeightBits - 1);

void Plain(uint8_t* out, const uint8_t* in, size_t pitch, const int32_t* weights, int taps,
           size_t n) {
  constexpr size_t kBlock = 64;
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t block = std::min(kBlock, n - i);
    int32_t sums[kBlock];
    std::fill_n(sums, block, kHalf);
    const uint8_t* row = in + i;
    for (int t = 0; t < taps; ++t, row += pitch) {
      for (size_t j = 0; j < block; ++j) sums[j] += weights[t] * row[j];
    }
    for (size_t j = 0; j < block; ++j) {
      out[i + j] = static_cast<uint8_t>(std::clamp(sums[j] >> kWeightBits, 0, 255));
    }
  }
}

// 48 columns at a time: six sums stay in registers over all taps.
constexpr size_t kLanes = 8;
constexpr size_t kVectors = 6;

[[gnu::target("avx2")]] void Avx2(uint8_t* out, const uint8_t* in, size_t pitch,
                                  const int32_t* weights, int taps, size_t n) {
  size_t i = 0;
  for (; i + kVectors * kLanes <= n; i += kVectors * kLanes) {
    __m256i sums[kVectors];
    for (__m256i& sum : sums) sum = _mm256_set1_epi32(kHalf);
    const uint8_t* row = in + i;
    for (int t = 0; t < taps; ++t, row += pitch) {
      const __m256i weight = _mm256_set1_epi32(weights[t]);
#pragma GCC unroll 6
      for (size_t v = 0; v < kVectors; ++v) {
        const auto* from = reinterpret_cast<const __m128i*>(row + v * kLanes);
        const __m256i samples = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from));
        sums[v] = _mm256_add_epi32(sums[v], _mm256_mullo_epi32(weight, samples));
      }
    }
#pragma GCC unroll 6
    for (size_t v = 0; v < kVectors; ++v) {
      // Both packs saturate; after the shift no value needs more than 16 bits.
      const __m256i value = _mm256_srai_epi32(sums[v], kWeightBits);
      const __m128i words =
          _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + i + v * kLanes),
                       _mm_packus_epi16(words, words));
    }
  }
  Plain(out + i, in + i, pitch, weights, taps, n - i);
}

}  // namespace

void WeightedRows(uint8_t* out, const uint8_t* in, size_t pitch, const int32_t* weights, int taps,
                  size_t n) {
  static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  (avx2 ? Avx2 : Plain)(out, in, pitch, weights, taps, n);
}

}  // namespace softsplice
