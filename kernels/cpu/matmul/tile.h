// What all panel kernels share: loading and storing a tile of sums, choosing the tile's size at
// compile time, walking panels.
#pragma once

#include "kernels/cpu/matmul/bodies.h"

namespace softsplice::SIMD_NAMESPACE {

SIMD_INLINE vf Clamp(vf x, float lo, float hi) {  // NaN stays NaN
  x = x < lo ? Set(lo) : x;
  return x > hi ? Set(hi) : x;
}

// Into the second-level cache. Addresses past the end do no harm.
SIMD_INLINE void Prefetch(const char* p, int bytes) {
  for (int i = 0; i < bytes; i += 64) _mm_prefetch(p + i, _MM_HINT_T1);
}

// Ahead of a kernel that reads its weights from memory: the processor's own prefetching of one
// stream covers half of the bandwidth. Near is into the first-level cache; far, into the second, is
// for tiles that need the first for their rows and kernels that have little else to load.
template <bool kFar>
SIMD_INLINE void PrefetchStream(const char* p, int bytes) {
  for (int i = 0; i < bytes; i += 64) {
    if constexpr (kFar) {
      _mm_prefetch(p + 16384 + i, _MM_HINT_T1);
    } else {
      _mm_prefetch(p + 8192 + i, _MM_HINT_T0);
    }
  }
}

// The first `outs` of one row's sums in one panel.
SIMD_INLINE void LoadSums(vf sums[2], const float* y, int outs) {
  if (outs >= kPanel) {
    sums[0] = Load(y);
    sums[1] = Load(y + kLanes);
    return;
  }
  sums[0] = LoadPart(y, outs < kLanes ? outs : kLanes);
  sums[1] = outs > kLanes ? LoadPart(y + kLanes, outs - kLanes) : vf{};
}

SIMD_INLINE void StoreSums(float* y, const vf sums[2], int outs, const PanelCall& call) {
  const vf low = call.last ? Clamp(sums[0], call.lo, call.hi) : sums[0];
  const vf high = call.last ? Clamp(sums[1], call.lo, call.hi) : sums[1];
  if (outs >= kPanel) {
    Store(y, low);
    Store(y + kLanes, high);
    return;
  }
  StorePart(y, low, outs < kLanes ? outs : kLanes);
  if (outs > kLanes) StorePart(y + kLanes, high, outs - kLanes);
}

template <int R>
SIMD_INLINE void StartSums(vf sums[R][2], const PanelCall& call, const float* y, int outs) {
  for (int r = 0; r < R; ++r) {
    sums[r][0] = sums[r][1] = vf{};
    if (call.resume) LoadSums(sums[r], y + r * call.y_pitch, outs);
  }
}

template <int R>
SIMD_INLINE void FinishSums(const vf sums[R][2], const PanelCall& call, float* y, int outs) {
  for (int r = 0; r < R; ++r) StoreSums(y + r * call.y_pitch, sums[r], outs, call);
}

// The sums that the next tile of rows resumes.
SIMD_INLINE void PrefetchSums(const PanelCall& call, const float* y, int rows) {
  for (int r = 0; r < rows; ++r, y += call.y_pitch) {
    _mm_prefetch(y, _MM_HINT_T0);
    _mm_prefetch(y + kPanel - 1, _MM_HINT_T0);
  }
}

// Quantised activations of the tile of `rows` rows that starts at `row`.
SIMD_INLINE const ActBlock* TileAt(const PanelCall& call, int row, int rows) {
  return static_cast<const ActBlock*>(call.x) + static_cast<ptrdiff_t>(row) * call.x_blocks +
         static_cast<ptrdiff_t>(rows) * call.x_first;
}

// One panel of quantised weights, expanded into scratch by Expanded::Fill; what is expanded next
// is on its way into the cache.
template <class Format, class Expanded>
SIMD_INLINE const char* ExpandPanel(const PanelCall& call, const char* w) {
  char* dst = static_cast<char*>(call.scratch);
  for (int k = 0; k < call.depth; k += kBlock * Format::kBlocks) {
    const char* header = w;
    w += Format::kHeader;
    for (int b = 0; b < Format::kBlocks; ++b) {
      Prefetch(w + call.panel_stride, Format::kBytes);
      Expanded::Fill(dst, header, w);
      w += Format::kBytes;
      dst += Expanded::kBytes;
    }
  }
  return static_cast<const char*>(call.scratch);
}

// One panel, expanded or not, times all rows.
template <class Tile>
SIMD_INLINE void QuantRows(const PanelCall& call, const char* w, float* y, int outs) {
  for (int row = 0; row < call.rows; row += kIntRows, y += kIntRows * call.y_pitch) {
    const int rows = call.rows - row < kIntRows ? call.rows - row : kIntRows;
    const ActBlock* x = TileAt(call, row, rows);
    PrefetchSums(call, y + rows * call.y_pitch, kIntRows);
    WithRows<kIntRows>(rows, Tile{}, call, x, w, y, outs);
  }
}

// One panel as it is, times all rows. Its weights come from memory in one stream, so many inputs at
// a time: the first tile of rows brings them into the first-level cache, the others find them
// there.
constexpr int kStreamDepth = 512;
template <class Format, class Tile>
SIMD_INLINE void StreamRows(const PanelCall& call, const char* w, float* y, int outs) {
  if (call.rows <= kIntRows) return QuantRows<Tile>(call, w, y, outs);
  constexpr int kBytes = kStreamDepth / kBlock / Format::kBlocks *
                         (Format::kHeader + Format::kBlocks * Format::kBytes);
  PanelCall part = call;
  for (int k = 0; k < call.depth; k += kStreamDepth, w += kBytes) {
    part.depth = call.depth - k < kStreamDepth ? call.depth - k : kStreamDepth;
    part.resume = call.resume || k > 0;
    part.last = call.last && k + part.depth == call.depth;
    part.x_first = call.x_first + k / kBlock;
    QuantRows<Tile>(part, w, y, outs);
  }
}

template <class Format, class Expanded, class FewTile, class ManyTile>
SIMD_INLINE void QuantPanels(const PanelCall& call) {
  const char* w = static_cast<const char*>(call.w);
  for (int out = 0; out < call.outs; out += kPanel, w += call.panel_stride) {
    const int outs = call.outs - out;
    if (call.rows <= kStreamRows) {
      StreamRows<Format, FewTile>(call, w, call.y + out, outs);
    } else {
      QuantRows<ManyTile>(call, ExpandPanel<Format, Expanded>(call, w), call.y + out, outs);
    }
  }
}

}  // namespace softsplice::SIMD_NAMESPACE
