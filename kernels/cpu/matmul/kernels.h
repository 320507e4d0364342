// What the matmul driver and the kernels, compiled once per instruction set, say to each other:
// the packed layouts and plain argument structs.
//
// A panel is 2 vectors of outputs (`MatmulKernels::panel` of them): the weights of that many
// outputs, ordered by k, so that a kernel reads memory in one direction. Panels follow each other;
// the last one is padded with zeros. Within a tile of R rows a kernel keeps R x 2 vectors of sums.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/quant_blocks.h"

namespace softsplice {

// How a packed weight lies in a panel. Floats: [k][panel]. Quantised types: unit by unit (kBlock or
// kSuperBlock inputs). In a unit, scales and minimums are [panel] each, and codes of kBlock inputs
// are one of
//   bytes    [k / 4][vector][lane][4]
//   nibbles  [k / 4][vector][lane][4] for k < 16, that of k + 16 in the high half
//   pairs    [k / 16][vector][lane][4]: bits 2i..2i+1 belong to k + 4i
enum class Layout : uint8_t {
  kF32,
  kF16,
  kBF16,
  // Value (u - 8) * scale. Unit of kBlock: f16 scale, nibbles.
  kNibbleCentred,
  // u * scale + min. Unit of kBlock: f16 scale, f16 min, nibbles.
  kNibbleMin,
  // u * (d * s) - (dmin * m). Unit of kSuperBlock: f16 d, f16 dmin, then per block: u8 s, u8 m,
  // nibbles.
  kNibbleSuper,
  // (u - 32) * s * d, u below 64. Unit of kSuperBlock: f16 d, then per block: s8 s of the first and
  // of the second half, nibbles with the low 4 bits, pairs with the high 2 bits.
  kSix,
  // u * scale + min, u below 32. Unit of kBlock: f32 scale, f32 min, bytes.
  kByteMin,
  // The same with a scale and a min for each half: scales, minimums, bytes.
  kByteMinHalves,
  // Signed bytes times scale. Unit of kBlock: f16 or f32 scale, bytes.
  kSignedHalf,
  kSignedFloat,
  kCount,
};

constexpr int kDepthChunk = 8;  // float panels: inputs are padded to a multiple of this

// 32 activations of one row: x = scale * q, |q| <= 127. A row with a number that is not finite has
// scale NaN. Rows come in tiles of MatmulKernels::int_rows (the last tile may be smaller); a tile
// of R rows is [block][R] of these.
struct ActBlock {
  int8_t q[kBlock];
  float scale;
  float scaled_sum;      // scale * sum of q
  int16_t lane_sums[2];  // -8 * the sum of the q whose index is 0 or 1 mod 4; 2 or 3 mod 4
  int16_t half_sums[2];  // sum of the first 16 q; of the last 16
};
static_assert(sizeof(ActBlock) == 48);

// y[rows, outs] (+)= x W^T over one range of inputs.
struct PanelCall {
  float* y = nullptr;
  ptrdiff_t y_pitch = 0;
  int rows = 0;
  int outs = 0;  // of one or more panels; only the last panel may be partial
  // Float layouts: the range of the rows as MatmulKernels::pack_rows packs it. Quantised ones:
  // ActBlocks of the whole rows, x_blocks each, of which the range begins with x_first.
  const void* x = nullptr;
  int x_blocks = 0;
  int x_first = 0;
  const void* w = nullptr;     // first panel, at the range's first input
  ptrdiff_t panel_stride = 0;  // bytes from panel to panel
  int depth = 0;               // inputs in the range: a multiple of kDepthChunk or of the unit
  bool resume = false;         // y holds the sums of the inputs before
  bool last = false;           // y is clamped to [lo, hi]
  float lo = 0, hi = 0;
  void* scratch = nullptr;  // for one panel of the range, expanded
};

struct MatmulKernels {
  int panel = 0;       // outputs per panel
  int float_rows = 0;  // rows per tile
  int int_rows = 0;
  int stream_rows = 0;  // of quantised weights: up to so many, they are not expanded
  // dst: tiles of float_rows rows (the last may be smaller), each [depth / 8][R][8]; x clamped to
  // [lo, hi]; inputs past `cols` are zeros.
  void (*pack_rows)(float* dst, const float* x, ptrdiff_t pitch, int rows, int cols, float lo,
                    float hi) = nullptr;
  // dst: one tile of `rows` rows; cols is a multiple of kBlock.
  void (*quantize_rows)(ActBlock* dst, const float* x, ptrdiff_t pitch, int rows, int cols,
                        float lo, float hi) = nullptr;
  void (*panels[static_cast<int>(Layout::kCount)])(const PanelCall&) = {};
};

// Bytes of scratch that a panel call needs, at most, for `depth` inputs.
constexpr size_t ScratchBytes(int panel, int depth) {
  return static_cast<size_t>(panel) * static_cast<size_t>(depth) * sizeof(float);
}

}  // namespace softsplice
