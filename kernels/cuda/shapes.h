// How kernels are launched: pure functions of the shapes of their arguments.
#pragma once

#include <cstddef>

namespace softsplice::cuda {

// What kernels are built for: devices of this compute capability, whose blocks may have so many
// bytes of shared memory.
inline constexpr int kLeastCapability = 8;
inline constexpr size_t kSharedOfBlock = size_t{163} << 10;
// Those of a multiprocessor, on devices that we tune for (compute capability 9.0 and 10.0), less 1
// KiB a block.
inline constexpr size_t kSharedOfMultiprocessor = size_t{224} << 10;

// Threads for one row (or group of columns) of a norm of so many numbers: each has some of them in
// registers. 0: more than a block has room for, which are 8,192.
inline constexpr int kNormNumbers = 8;  // of a thread
int NormThreads(int numbers);

// A block has up to so many neighbours in one row, or several short rows.
inline constexpr int kElementsPerBlock = 1024;
inline constexpr int kMostElementThreads = 256;

struct ElementShape {
  int blocks_per_row;
  int rows_of_block;
  int threads_of_row;
  int threads;  // of a block: whole warps
};
ElementShape ElementShapeOf(int cols);

// How y = x W^T runs: up to 64 rows of x (exact: 8) by blocks that have some of them and a few
// strips of 16 outputs at a time, a warp for each slice of the columns; else by blocks of 128 or
// (exact) 64 rows and of two warps' strips, or by blocks of a strip a warp where warpgroups
// multiply. Blocks next to each other have the same strips.
inline constexpr int kMatmulThreads = 256;
constexpr int MostDecoded(bool exact) { return exact ? 8 : 64; }
// Tiles of eight rows that a block of the decode kernel has, of more than eight float32 or bfloat16
// rows; and those of a warp of the prefill kernel, whose blocks have four times as many.
inline constexpr int kFewTokenTiles = 2;
inline constexpr int kManyTokenTiles = 4;
inline constexpr int kPrefillTokenTiles = 4;
inline constexpr int kExactTokenTiles = 2;
// Strips of a warp in the prefill kernel: few, as a rule. Many, where registers do not suffice for
// two blocks of a multiprocessor but for a larger one, if that makes blocks enough.
inline constexpr int kFewStrips = 2;
inline constexpr int kManyStrips = 4;

inline constexpr int kWarpgroupStrips = kMatmulThreads / 32;
// Tiles of eight rows of a block whose warpgroups multiply: few, if all blocks then run at once.
inline constexpr int kFewWarpgroupTiles = 8;
inline constexpr int kManyWarpgroupTiles = 16;

struct MatmulShape {
  bool decode, warpgroups;
  int strips;                            // of a warp; gated: of both weights
  int token_tiles;                       // of a block; of a warp where neither of these holds
  int blocks_x, blocks_y, blocks_z = 1;  // for rows, for strips, for weights
};
struct MatmulKind {
  bool gated = false;
  bool exact = false;
  bool is_bfloat16 = true;   // x
  bool many_strips = false;  // the format's prefill kernel is there for them, too
  int weights = 1;
  bool can_decode = true;   // the decode kernel takes such x
  bool warpgroups = false;  // the device has them
  bool many_tokens = true;  // the format's kernel is there for many of them, too
};
// `rows` of x; `strips` of the weight (gated: of each of the two; of several: of the largest).
MatmulShape MatmulShapeOf(int rows, int strips, const MatmulKind& kind);

}  // namespace softsplice::cuda
