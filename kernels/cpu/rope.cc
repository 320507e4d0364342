// Rotary embedding in place: (a, b) = (a cos - b sin, b cos + a sin) for the pairs of every head,
// angle = position * frequency in float32 (as transformers rounds it). Sines are computed once per
// row and pair and shared by the heads. Compiled once per instruction set.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

typedef double vd __attribute__((vector_size(SIMD_LANES * 8)));

// Both within about 1 ulp for |x| < 2^20: the quadrant is taken off in double, the rest is Cephes'
// polynomials.
SIMD_INLINE void SinCos(vf x, float* sine, float* cosine) {
  constexpr double kRound = 0x1.8p52;
  const vd wide = __builtin_convertvector(x, vd);
  const vd n = (wide * 0.63661977236758134 + kRound) - kRound;
  const vf r = __builtin_convertvector(wide - n * 1.5707963267948966, vf);
  const vi quadrant = __builtin_convertvector(n, vi);
  const vf z = r * r;
  vf s = Fma(Set(-1.9515295891e-4f), z, Set(8.3321608736e-3f));
  s = Fma(s, z, Set(-1.6666654611e-1f));
  s = Fma(s * z, r, r);
  vf c = Fma(Set(2.443315711809948e-5f), z, Set(-1.388731625493765e-3f));
  c = Fma(c, z, Set(4.166664568298827e-2f));
  c = Fma(c, z * z, Fma(z, Set(-0.5f), Set(1.0f)));
  const vi swap = (quadrant & 1) == 1;
  const vf sin_mag = swap ? c : s;
  const vf cos_mag = swap ? s : c;
  Store(sine, FromBits(Bits(sin_mag) ^ (quadrant & 2) << 30));
  Store(cosine, FromBits(Bits(cos_mag) ^ ((quadrant + 1) & 2) << 30));
}

// Rotates pairs [0, n) of a head.
SIMD_INLINE void Rotate(float* a, float* b, const float* sine, const float* cosine, int n) {
  for (int i = 0; i < n; i += kLanes) {
    const bool whole = i + kLanes <= n;
    const vf x = whole ? Load(a + i) : LoadPart(a + i, n - i);
    const vf y = whole ? Load(b + i) : LoadPart(b + i, n - i);
    const vf s = Load(sine + i);
    const vf c = Load(cosine + i);
    const vf new_x = x * c - y * s;
    const vf new_y = y * c + x * s;
    if (whole) {
      Store(a + i, new_x);
      Store(b + i, new_y);
    } else {
      StorePart(a + i, new_x, n - i);
      StorePart(b + i, new_y, n - i);
    }
  }
}

void Rope(Mat x, Mat positions, const float* frequencies, int head_dim, int first, int pairs) {
  constexpr int kChunk = 128;
  float sine[kChunk];
  float cosine[kChunk];
  for (int r = 0; r < x.rows; ++r) {
    const float position = static_cast<float>(IndexOf(positions, r));
    for (int begin = 0; begin < pairs; begin += kChunk) {
      const int n = pairs - begin < kChunk ? pairs - begin : kChunk;
      for (int i = 0; i < n; i += kLanes) {
        const float* f = frequencies + begin + i;
        const vf frequency = i + kLanes <= n ? Load(f) : LoadPart(f, n - i);
        SinCos(position * frequency, sine + i, cosine + i);
      }
      for (float* a = RowOf(x, r) + first + begin; a < RowOf(x, r) + x.cols; a += head_dim) {
        Rotate(a, a + pairs, sine, cosine, n);
      }
    }
  }
}

}  // namespace

void FillRope(CpuOps& ops) { ops.rope = Rope; }

}  // namespace softsplice::SIMD_NAMESPACE
