// Activations to int8, per row and block of 32: scale = max|x| / 127, q = round(x / scale) to
// nearest even. The error of an activation is at most scale / 2, and a little for rounding.
// Bytes: 4 read and 1.5 written per activation.
#include "kernels/cpu/matmul/tile.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

typedef int32_t Quad __attribute__((vector_size(16)));
constexpr int kQuads = kBlock / 4;

SIMD_INLINE __m128i Raw(Quad v) { return reinterpret_cast<__m128i>(v); }

// To bytes, and the sums that kernels need to shift codes or to apply a minimum.
SIMD_INLINE void Finish(ActBlock* block, const Quad q[kQuads]) {
  Quad sums[2];
  for (int half = 0; half < 2; ++half) {
    const Quad* v = q + half * kQuads / 2;
    const __m128i low = _mm_packs_epi32(Raw(v[0]), Raw(v[1]));
    const __m128i high = _mm_packs_epi32(Raw(v[2]), Raw(v[3]));
    const __m128i bytes = _mm_packs_epi16(low, high);
    __builtin_memcpy(block->q + half * kBlock / 2, &bytes, sizeof bytes);
    sums[half] = (v[0] + v[1]) + (v[2] + v[3]);
  }
  const Quad all = sums[0] + sums[1];
  const int32_t first = (sums[0][0] + sums[0][1]) + (sums[0][2] + sums[0][3]);
  const int32_t even = all[0] + all[1];
  const int32_t odd = all[2] + all[3];
  block->lane_sums[0] = static_cast<int16_t>(-8 * even);
  block->lane_sums[1] = static_cast<int16_t>(-8 * odd);
  block->half_sums[0] = static_cast<int16_t>(first);
  block->half_sums[1] = static_cast<int16_t>(even + odd - first);
  block->scaled_sum = block->scale * static_cast<float>(even + odd);
}

SIMD_INLINE void QuantizeBlock(ActBlock* block, const float* x, float lo, float hi) {
  constexpr int kVectors = kBlock / kLanes;
  union {
    vi whole[kVectors];
    Quad quads[kQuads];
  } bits;
  for (int i = 0; i < kVectors; ++i) bits.whole[i] = Bits(Clamp(Load(x + i * kLanes), lo, hi));
  Quad max = {};
  for (int i = 0; i < kQuads; ++i) {
    const Quad magnitude = bits.quads[i] & 0x7fffffff;  // as an integer, NaN is largest
    max = magnitude > max ? magnitude : max;
  }
  const int32_t left = max[0] > max[1] ? max[0] : max[1];
  const int32_t right = max[2] > max[3] ? max[2] : max[3];
  const int32_t most = left > right ? left : right;
  float largest;
  __builtin_memcpy(&largest, &most, sizeof largest);

  block->scale = largest / 127;
  float inverse = 127 / largest;
  if (most >= 0x7f800000 || largest < 1e-30f) {  // not finite, or 127 / largest might not be
    block->scale = most >= 0x7f800000 ? __builtin_nanf("") : 0;
    inverse = 0;
    for (int i = 0; i < kVectors; ++i) bits.whole[i] = vi{};
  }
  constexpr float kRound = 0x1.8p23f;
  for (int i = 0; i < kVectors; ++i) {
    bits.whole[i] =
        Bits(Fma(FromBits(bits.whole[i]), Set(inverse), Set(kRound))) - Bits(Set(kRound));
  }
  Finish(block, bits.quads);
}

}  // namespace

void QuantizeRows(ActBlock* dst, const float* x, ptrdiff_t pitch, int rows, int cols, float lo,
                  float hi) {
  for (int r = 0; r < rows; ++r) {
    for (int b = 0; b < cols / kBlock; ++b) {
      QuantizeBlock(dst + b * rows + r, x + r * pitch + b * kBlock, lo, hi);
    }
  }
}

}  // namespace softsplice::SIMD_NAMESPACE
