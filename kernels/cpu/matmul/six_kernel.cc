// y[m, n] = sum over blocks b of d[n, b] * scale_x[m, b] * (sum over the halves h of b of s[n, h] *
// (sum over k in h of (u[n, k] - 32) * q[m, k])) for 6-bit codes u (Layout::kSix, GGUF's Q6_K).
// What is in brackets is an exact integer; blocks are added in order, one fused multiply-add each.
// Bytes: 26.25 per output and block of weights, once per block of rows; 48 per row and block of
// activations, once per panel.
#include "kernels/cpu/matmul/dot.h"
#include "kernels/cpu/matmul/tile.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

constexpr int kVectorBytes = 4 * kLanes;
constexpr int kHalfSteps = kBlock / 8;

struct Six {
  static constexpr bool kStream = true;
  static constexpr int kHeader = 2 * kPanel, kBlocks = kSuperBlock / kBlock;
  static constexpr int kLow = 2 * kPanel;  // after the scales
  static constexpr int kHigh = kLow + kPanel * kBlock / 2;
  static constexpr int kBytes = kHigh + kPanel * kBlock / 4;
  SIMD_INLINE vf Scale(const char* h, const char*, int v) {
    return Load(reinterpret_cast<const uint16_t*>(h) + v * kLanes);
  }
  SIMD_INLINE vi IntScale(const char* p, int v, int half) {
    return LoadBytes(reinterpret_cast<const int8_t*>(p) + half * kPanel + v * kLanes);
  }
  SIMD_INLINE vi Codes(const char* p, int v, int j, int half) {
    const vi both = LoadInts(p + kLow + (2 * j + v) * kVectorBytes);
    const vi low = (half == 0 ? both : both >> 4) & 0x0f0f0f0f;
    const vi pairs = LoadInts(p + kHigh + (2 * half + v) * kVectorBytes);
    return low | (((pairs >> 2 * j) & 0x03030303) << 4);
  }
};

struct ExpandedSix {
  static constexpr bool kStream = false;
  static constexpr int kHeader = 0, kBlocks = 1;
  static constexpr int kInts = 4 * kPanel;  // after the scales
  static constexpr int kCodes = kInts + 8 * kPanel;
  static constexpr int kBytes = kCodes + kPanel * kBlock;
  SIMD_INLINE vf Scale(const char*, const char* p, int v) {
    return Load(reinterpret_cast<const float*>(p) + v * kLanes);
  }
  SIMD_INLINE vi IntScale(const char* p, int v, int half) {
    return LoadInts(p + kInts + (2 * half + v) * kVectorBytes);
  }
  static constexpr int CodesAt(int v, int j, int half) {
    return kCodes + ((half * kHalfSteps + j) * 2 + v) * kVectorBytes;
  }
  SIMD_INLINE vi Codes(const char* p, int v, int j, int half) {
    return LoadInts(p + CodesAt(v, j, half));
  }

  SIMD_INLINE void Fill(char* dst, const char* h, const char* p) {
    for (int v = 0; v < 2; ++v) {
      Store(reinterpret_cast<float*>(dst) + v * kLanes, Six::Scale(h, p, v));
      for (int half = 0; half < 2; ++half) {
        const vi scale = Six::IntScale(p, v, half);
        __builtin_memcpy(dst + kInts + (2 * half + v) * kVectorBytes, &scale, sizeof scale);
        for (int j = 0; j < kHalfSteps; ++j) {
          const vi codes = Six::Codes(p, v, j, half);
          __builtin_memcpy(dst + CodesAt(v, j, half), &codes, sizeof codes);
        }
      }
    }
  }
};

template <class Format, int R>
SIMD_INLINE void AddBlock(vf sums[R][2], const ActBlock* x, const char* h, const char* p) {
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    vi dots[R] = {};
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      vi codes[kHalfSteps];
#pragma GCC unroll 4
      for (int j = 0; j < kHalfSteps; ++j) codes[j] = Format::Codes(p, v, j, half);
      const vi scale = Format::IntScale(p, v, half);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        dots[r] =
            ScaledDot(dots[r], codes, x[r].q + half * (kBlock / 2), scale, x[r].half_sums[half]);
      }
    }
    const vf scale = Format::Scale(h, p, v);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      sums[r][v] = Fma(ToFloat(dots[r]), scale * x[r].scale, sums[r][v]);
    }
  }
}

template <class Format>
struct SixTile {
  template <int R>
  SIMD_INLINE_MEMBER void operator()(const PanelCall& call, const ActBlock* x, const char* w,
                                     float* y, int outs) const {
    vf sums[R][2];
    StartSums<R>(sums, call, y, outs);
    for (int k = 0; k < call.depth; k += kBlock * Format::kBlocks) {
      const char* header = w;
      w += Format::kHeader;
      for (int b = 0; b < Format::kBlocks; ++b) {
        if constexpr (Format::kStream) PrefetchStream<false>(w, Format::kBytes);
        AddBlock<Format, R>(sums, x, header, w);
        x += R;
        w += Format::kBytes;
      }
    }
    FinishSums<R>(sums, call, y, outs);
  }
};

}  // namespace

void SixPanels(const PanelCall& call) {
  QuantPanels<Six, ExpandedSix, SixTile<Six>, SixTile<ExpandedSix>>(call);
}

}  // namespace softsplice::SIMD_NAMESPACE
