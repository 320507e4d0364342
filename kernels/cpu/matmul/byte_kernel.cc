// Weights of a byte per code, for the types that have no kernel of their own. Unsigned codes below
// 32 (Layout::kByteMin, kByteMinHalves): y[m, n] = sum over blocks or halves b of scale_x[m, b] *
// (scale_w[n, b] * sum of u q + min_w[n, b] * sum of q). Signed codes (kSignedHalf, kSignedFloat):
// the same without the minimum. Sums of integers are exact; blocks are added in order.
// Bytes: 40, 48, 34 or 36 per output and block of weights, once per block of rows; 48 per row and
// block of activations, once per panel.
#include "kernels/cpu/matmul/dot.h"
#include "kernels/cpu/matmul/tile.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

constexpr int kVectorBytes = 4 * kLanes;
constexpr int kHalfSteps = kBlock / 8;
constexpr int kCodeBytes = kPanel * kBlock;

template <class Number>
SIMD_INLINE vf Vector(const char* p, int index) {
  return Load(reinterpret_cast<const Number*>(p) + index * kLanes);
}

SIMD_INLINE vi CodesAt(const char* codes, int v, int half, int j) {
  return LoadInts(codes + ((half * kHalfSteps + j) * 2 + v) * kVectorBytes);
}

// Scales and minimums for kParts parts of a block.
template <int kParts>
struct Unsigned {
  static constexpr int kHeader = 0, kBlocks = 1;
  static constexpr int kBytes = 8 * kParts * kPanel + kCodeBytes;
  template <int R>
  SIMD_INLINE void AddVector(vf* sums, const ActBlock* x, const char* p, int v) {
    vi whole[R] = {};
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      vi dots[R] = {};
#pragma GCC unroll 4
      for (int j = 0; j < kHalfSteps; ++j) {
        const vi codes = CodesAt(p + 8 * kParts * kPanel, v, half, j);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          dots[r] = SmallDot(dots[r], codes, Repeat(x[r].q + half * (kBlock / 2) + 4 * j));
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const vi dot = SmallDotSum(dots[r]);
        if constexpr (kParts == 1) {
          whole[r] = Now(whole[r] + dot);
        } else {
          const vf sum_x = Set(x[r].scale * static_cast<float>(x[r].half_sums[half]));
          sums[r] = Fma(ToFloat(dot), Vector<float>(p, 2 * half + v) * x[r].scale, sums[r]);
          sums[r] = Now(Fma(Vector<float>(p, 4 + 2 * half + v), sum_x, sums[r]));
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; kParts == 1 && r < R; ++r) {
      sums[r] = Fma(ToFloat(whole[r]), Vector<float>(p, v) * x[r].scale, sums[r]);
      sums[r] = Fma(Vector<float>(p, 2 + v), Set(x[r].scaled_sum), sums[r]);
    }
  }
};

template <class Number>
struct Signed {
  static constexpr int kHeader = 0, kBlocks = 1;
  static constexpr int kScales = static_cast<int>(sizeof(Number)) * kPanel;
  static constexpr int kBytes = kScales + kCodeBytes;
  template <int R>
  SIMD_INLINE void AddVector(vf* sums, const ActBlock* x, const char* p, int v) {
    vi dots[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      dots[r] = SignedDotStart(x[r].half_sums[0] + x[r].half_sums[1]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < 2 * kHalfSteps; ++j) {
      const vi codes = CodesAt(p + kScales, v, 0, j);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) dots[r] = SignedDot(dots[r], codes, Repeat(x[r].q + 4 * j));
    }
    const vf scale = Vector<Number>(p, v);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r] = Fma(ToFloat(dots[r]), scale * x[r].scale, sums[r]);
  }
};

template <class Format>
struct ByteTile {
  template <int R>
  SIMD_INLINE_MEMBER void operator()(const PanelCall& call, const ActBlock* x, const char* w,
                                     float* y, int outs) const {
    vf sums[R][2];
    StartSums<R>(sums, call, y, outs);
    for (int k = 0; k < call.depth; k += kBlock) {
      PrefetchStream<(R > 2)>(w, Format::kBytes);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        vf of_vector[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) of_vector[r] = sums[r][v];
        Format::template AddVector<R>(of_vector, x, w, v);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sums[r][v] = of_vector[r];
      }
      x += R;
      w += Format::kBytes;
    }
    FinishSums<R>(sums, call, y, outs);
  }
};

// Codes are bytes already: nothing to expand, whatever the number of rows.
template <class Format>
SIMD_INLINE void BytePanels(const PanelCall& call) {
  const char* w = static_cast<const char*>(call.w);
  for (int out = 0; out < call.outs; out += kPanel, w += call.panel_stride) {
    StreamRows<Format, ByteTile<Format>>(call, w, call.y + out, call.outs - out);
  }
}

}  // namespace

void ByteMinPanels(const PanelCall& call) { BytePanels<Unsigned<1>>(call); }
void ByteMinHalvesPanels(const PanelCall& call) { BytePanels<Unsigned<2>>(call); }
void SignedHalfPanels(const PanelCall& call) { BytePanels<Signed<uint16_t>>(call); }
void SignedFloatPanels(const PanelCall& call) { BytePanels<Signed<float>>(call); }

}  // namespace softsplice::SIMD_NAMESPACE
