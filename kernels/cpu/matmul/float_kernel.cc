// y[m, n] = sum over k of x[m, k] * w[n, k] in float32: k ascending, one fused multiply-add each.
// x: float32, packed by PackRows. w: panels [k][panel] of F32, F16 or BF16.
// Bytes: w once per block of rows; x from the second-level cache once per panel. With more than one
// tile of rows a panel is expanded to float32 in the first-level cache; with fewer it is converted
// in registers and read at the speed of memory.
#include "kernels/cpu/matmul/tile.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

struct F32 {
  using Number = float;
  SIMD_INLINE vf Read(const float* p) { return Load(p); }
};
struct F16 {
  using Number = uint16_t;
  SIMD_INLINE vf Read(const uint16_t* p) { return Load(p); }
};
struct BF16 {
  using Number = uint16_t;
  SIMD_INLINE vf Read(const uint16_t* p) {
    vh half;
    __builtin_memcpy(&half, p, sizeof half);
    return reinterpret_cast<vf>(__builtin_convertvector(half, vu) << 16);
  }
};

// One tile of R rows and P panels: P > 1 where one panel's sums are too few to hide the latency of
// a multiply-add.
template <class T, int P>
struct FloatTile {
  template <int R>
  SIMD_INLINE_MEMBER void operator()(const PanelCall& call, const float* x,
                                     const typename T::Number* w, ptrdiff_t stride, float* y,
                                     int outs) const {
    vf sums[P][R][2];
    for (int p = 0; p < P; ++p) StartSums<R>(sums[p], call, y + p * kPanel, outs - p * kPanel);
    for (int k = 0; k < call.depth; k += kDepthChunk) {
#pragma GCC unroll 4
      for (int i = 0; i < kDepthChunk; ++i) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const vf low = T::Read(w + p * stride + i * kPanel);
          const vf high = T::Read(w + p * stride + i * kPanel + kLanes);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
            const vf in = Set(x[r * kDepthChunk + i]);
            sums[p][r][0] = Fma(in, low, sums[p][r][0]);
            sums[p][r][1] = Fma(in, high, sums[p][r][1]);
          }
        }
      }
      x += R * kDepthChunk;
      w += kDepthChunk * kPanel;
    }
    for (int p = 0; p < P; ++p) FinishSums<R>(sums[p], call, y + p * kPanel, outs - p * kPanel);
  }
};

template <class T>
SIMD_INLINE const typename T::Number* PanelAt(const PanelCall& call, int panel) {
  return reinterpret_cast<const typename T::Number*>(static_cast<const char*>(call.w) +
                                                     panel * call.panel_stride);
}

// One tile of rows, several panels at a time where rows are few, as far as there are so many.
template <class T, int R, int P>
SIMD_INLINE int SeveralPanels(const PanelCall& call) {
  const float* x = static_cast<const float*>(call.x);
  const ptrdiff_t stride = call.panel_stride / static_cast<ptrdiff_t>(sizeof(typename T::Number));
  int out = 0;
  for (; call.rows == R && call.outs - out > (P - 1) * kPanel; out += P * kPanel) {
    FloatTile<T, P>{}.template operator()<R>(call, x, PanelAt<T>(call, out / kPanel), stride,
                                             call.y + out, call.outs - out);
  }
  return out;
}

// One panel times all rows.
template <class T>
SIMD_INLINE void FloatRows(const PanelCall& call, const typename T::Number* w, int out) {
  const int outs = call.outs - out;
  const ptrdiff_t stride = 0;
  const float* x = static_cast<const float*>(call.x);
  for (int row = 0; row < call.rows; row += kFloatRows) {
    float* y = call.y + row * call.y_pitch + out;
    const int rows = call.rows - row < kFloatRows ? call.rows - row : kFloatRows;
    PrefetchSums(call, y + rows * call.y_pitch, kFloatRows);
    WithRows<kFloatRows>(rows, FloatTile<T, 1>{}, call, x, w, stride, y, outs);
    x += rows * call.depth;
  }
}
// Out of line: one copy for all types.
void ExpandedRows(const PanelCall& call, const float* w, int out) { FloatRows<F32>(call, w, out); }

template <class T>
SIMD_INLINE const float* Expand(const PanelCall& call, const typename T::Number* w) {
  const char* next = reinterpret_cast<const char*>(w) + call.panel_stride;
  constexpr int kChunk = kDepthChunk * kPanel;
  constexpr int kChunkBytes = kChunk * static_cast<int>(sizeof(*w));
  float* expanded = static_cast<float*>(call.scratch);
  for (int k = 0; k < call.depth; k += kDepthChunk, next += kChunkBytes) {
    Prefetch(next, kChunkBytes);
    if constexpr (sizeof(*w) < sizeof(float)) {
      for (int i = 0; i < kChunk; i += kLanes) {
        Store(expanded + k * kPanel + i, T::Read(w + k * kPanel + i));
      }
    }
  }
  if constexpr (sizeof(*w) < sizeof(float)) {
    return expanded;
  } else {
    return w;
  }
}

// Expanding a panel pays from so many rows.
constexpr int kExpandRows = 3 * kFloatRows + 1;

template <class T>
void FloatPanels(const PanelCall& call) {
  int out = SeveralPanels<T, 1, 4>(call) + SeveralPanels<T, 2, 2>(call);
  for (; out < call.outs; out += kPanel) {
    const auto* w = PanelAt<T>(call, out / kPanel);
    if (call.rows < kExpandRows) {
      FloatRows<T>(call, w, out);
    } else {
      ExpandedRows(call, Expand<T>(call, w), out);
    }
  }
}

}  // namespace

void FloatPanelsF32(const PanelCall& call) { FloatPanels<F32>(call); }
void FloatPanelsF16(const PanelCall& call) { FloatPanels<F16>(call); }
void FloatPanelsBF16(const PanelCall& call) { FloatPanels<BF16>(call); }

void PackRows(float* dst, const float* x, ptrdiff_t pitch, int rows, int cols, float lo, float hi) {
  typedef float chunk __attribute__((vector_size(kDepthChunk * 4)));
  for (int row = 0; row < rows; row += kFloatRows) {
    const int tile = rows - row < kFloatRows ? rows - row : kFloatRows;
    const int depth = (cols + kDepthChunk - 1) / kDepthChunk * kDepthChunk;
    for (int r = 0; r < tile; ++r) {
      const float* in = x + (row + r) * pitch;
      float* out = dst + r * kDepthChunk;
      for (int k = 0; k < cols; k += kDepthChunk) {
        chunk v = {};
        const int count = cols - k < kDepthChunk ? cols - k : kDepthChunk;
        if (count == kDepthChunk) {
          __builtin_memcpy(&v, in + k, sizeof v);
        } else {
          for (int i = 0; i < count; ++i) v[i] = in[k + i];
        }
        v = v < lo ? lo - chunk{} : v;
        v = v > hi ? hi - chunk{} : v;
        // Padding stays zero even where zero is outside the bounds.
        for (int i = count; i < kDepthChunk; ++i) v[i] = 0;
        __builtin_memcpy(out, &v, sizeof v);
        out += tile * kDepthChunk;
      }
    }
    dst += tile * depth;
  }
}

}  // namespace softsplice::SIMD_NAMESPACE
