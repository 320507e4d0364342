// y[m, n] = sum over blocks b of scale_w[n, b] * scale_x[m, b] * (sum over k in b of u[n, k] *
// q[m, k] - 8 q[m, k]) for 4-bit codes u (Layout::kNibbleCentred), or + min_w[n, b] * scale_x * sum
// of q in place of the - 8 (kNibbleMin, kNibbleSuper). The inner sums are exact integers; blocks
// are added in order, one or two fused multiply-adds each. Bytes: 16 + 2, 4 or 2.5 per output and
// block of weights, once per block of rows; 48 per row and block of activations, once per panel.
#include "kernels/cpu/matmul/dot.h"
#include "kernels/cpu/matmul/tile.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

constexpr int kVectorBytes = 4 * kLanes;
constexpr int kNibbleBytes = kPanel * kBlock / 2;
constexpr int kHalfSteps = kBlock / 8;  // steps of 4 inputs in half a block

// Each format of panels: a unit is kHeader bytes and kBlocks blocks of kBytes; `h` is the unit's
// beginning, `p` the block's.
SIMD_INLINE vi Nibbles(const char* p, int v, int j, int half) {
  const vi both = LoadInts(p + (2 * j + v) * kVectorBytes);
  return (half == 0 ? both : both >> 4) & 0x0f0f0f0f;
}
SIMD_INLINE vf Halves(const char* p, int v) {
  return Load(reinterpret_cast<const uint16_t*>(p) + v * kLanes);
}

struct Centred {
  static constexpr bool kMin = false, kStream = true;
  static constexpr int kHeader = 0, kBlocks = 1, kBytes = 2 * kPanel + kNibbleBytes;
  SIMD_INLINE vf Scale(const char*, const char* p, int v) { return Halves(p, v); }
  SIMD_INLINE vf Min(const char*, const char*, int) { return vf{}; }
  SIMD_INLINE vi Codes(const char* p, int v, int j, int half) {
    return Nibbles(p + 2 * kPanel, v, j, half);
  }
};

struct WithMin {
  static constexpr bool kMin = true, kStream = true;
  static constexpr int kHeader = 0, kBlocks = 1, kBytes = 4 * kPanel + kNibbleBytes;
  SIMD_INLINE vf Scale(const char*, const char* p, int v) { return Halves(p, v); }
  SIMD_INLINE vf Min(const char*, const char* p, int v) { return Halves(p + 2 * kPanel, v); }
  SIMD_INLINE vi Codes(const char* p, int v, int j, int half) {
    return Nibbles(p + 4 * kPanel, v, j, half);
  }
};

struct Super {
  static constexpr bool kMin = true, kStream = true;
  static constexpr int kHeader = 4 * kPanel, kBlocks = kSuperBlock / kBlock,
                       kBytes = 2 * kPanel + kNibbleBytes;
  SIMD_INLINE vf Product(const char* h, const char* p, int v) {
    return Halves(h, v) * ToFloat(LoadBytes(reinterpret_cast<const uint8_t*>(p) + v * kLanes));
  }
  SIMD_INLINE vf Scale(const char* h, const char* p, int v) { return Product(h, p, v); }
  SIMD_INLINE vf Min(const char* h, const char* p, int v) {
    return -Product(h + 2 * kPanel, p + kPanel, v);
  }
  SIMD_INLINE vi Codes(const char* p, int v, int j, int half) {
    return Nibbles(p + 2 * kPanel, v, j, half);
  }
};

// A byte per code, float32 scales: what the others are expanded to for many rows.
template <class Format>
struct Expanded {
  static constexpr bool kMin = Format::kMin, kStream = false;
  static constexpr int kFloats = 4 * kPanel * (kMin ? 2 : 1);
  static constexpr int kHeader = 0, kBlocks = 1, kBytes = kFloats + 2 * kNibbleBytes;
  SIMD_INLINE vf Scale(const char*, const char* p, int v) {
    return Load(reinterpret_cast<const float*>(p) + v * kLanes);
  }
  SIMD_INLINE vf Min(const char*, const char* p, int v) {
    return Load(reinterpret_cast<const float*>(p) + kPanel + v * kLanes);
  }
  static constexpr int CodesAt(int v, int j, int half) {
    return kFloats + ((2 * j + half) * 2 + v) * kVectorBytes;
  }
  SIMD_INLINE vi Codes(const char* p, int v, int j, int half) {
    return LoadInts(p + CodesAt(v, j, half));
  }

  // One block.
  SIMD_INLINE void Fill(char* dst, const char* h, const char* p) {
    for (int v = 0; v < 2; ++v) {
      float* floats = reinterpret_cast<float*>(dst) + v * kLanes;
      Store(floats, Format::Scale(h, p, v));
      if constexpr (kMin) Store(floats + kPanel, Format::Min(h, p, v));
      for (int j = 0; j < kHalfSteps; ++j) {
        for (int half = 0; half < 2; ++half) {
          const vi codes = Format::Codes(p, v, j, half);
          __builtin_memcpy(dst + CodesAt(v, j, half), &codes, sizeof codes);
        }
      }
    }
  }
};

// One block of a tile of R rows.
template <class Format, int R>
SIMD_INLINE void AddBlock(vf sums[R][2], const ActBlock* x, const char* h, const char* p) {
  vi dots[R][2];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    dots[r][0] = dots[r][1] = Format::kMin ? vi{} : SmallDotStart(x[r].lane_sums);
  }
#pragma GCC unroll 4
  for (int j = 0; j < kHalfSteps; ++j) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const vi low = Format::Codes(p, 0, j, half);
      const vi high = Format::Codes(p, 1, j, half);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const vi in = Repeat(x[r].q + 4 * j + half * (kBlock / 2));
        dots[r][0] = SmallDot(dots[r][0], low, in);
        dots[r][1] = SmallDot(dots[r][1], high, in);
      }
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    const vf scale = Format::Scale(h, p, v);
    const vf min = Format::Min(h, p, v);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const vf dot = ToFloat(SmallDotSum(dots[r][v]));
      sums[r][v] = Fma(dot, scale * x[r].scale, sums[r][v]);
      if constexpr (Format::kMin) sums[r][v] = Fma(min, Set(x[r].scaled_sum), sums[r][v]);
    }
  }
}

template <class Format>
struct NibbleTile {
  template <int R>
  SIMD_INLINE_MEMBER void operator()(const PanelCall& call, const ActBlock* x, const char* w,
                                     float* y, int outs) const {
    vf sums[R][2];
    StartSums<R>(sums, call, y, outs);
    for (int k = 0; k < call.depth; k += kBlock * Format::kBlocks) {
      const char* header = w;
      w += Format::kHeader;
      for (int b = 0; b < Format::kBlocks; ++b) {
        if constexpr (Format::kStream) PrefetchStream<!Format::kMin && (R > 2)>(w, Format::kBytes);
        AddBlock<Format, R>(sums, x, header, w);
        x += R;
        w += Format::kBytes;
      }
    }
    FinishSums<R>(sums, call, y, outs);
  }
};

template <class Format>
SIMD_INLINE void NibblePanels(const PanelCall& call) {
  QuantPanels<Format, Expanded<Format>, NibbleTile<Format>, NibbleTile<Expanded<Format>>>(call);
}

}  // namespace

void NibbleCentredPanels(const PanelCall& call) { NibblePanels<Centred>(call); }
void NibbleMinPanels(const PanelCall& call) { NibblePanels<WithMin>(call); }
void NibbleSuperPanels(const PanelCall& call) { NibblePanels<Super>(call); }

}  // namespace softsplice::SIMD_NAMESPACE
