// How kernels are launched: pure functions of the shapes of their arguments.
#pragma once

#include <cstddef>

namespace softsplice::cuda {

// What kernels are built for: devices of this compute capability, whose blocks may have so many
// bytes of shared memory.
inline constexpr int kLeastCapability = 8;
inline constexpr size_t kSharedOfBlock = size_t{163} << 10;

// Threads for one row (or group of columns) of a norm of so many numbers.
int NormThreads(int numbers);

// A block has up to so many neighbours in one row.
inline constexpr int kElementsPerBlock = 1024;
inline constexpr int kMostElementThreads = 256;

struct ElementShape {
  int blocks_per_row;
  int threads;
};
ElementShape ElementShapeOf(int cols);

// How y = x W^T runs: up to 64 rows of x by blocks that have a few of them and a few strips of 16
// outputs, a warp for each slice of the columns; else by blocks of 96 or 64 rows, two warps' worth,
// and several strips. Blocks next to each other have the same strips.
inline constexpr int kMatmulThreads = 256;
inline constexpr int kMostDecoded = 64;
inline constexpr int kPrefillStrips = 2;      // of a warp
inline constexpr int kPrefillTokenTiles = 6;  // of a warp: eight rows each
inline constexpr int kExactTokenTiles = 4;

struct MatmulShape {
  bool decode;
  int strips;              // of a warp; gated: of both weights
  int token_tiles;         // of a warp
  int blocks_x, blocks_y;  // for rows, for strips
};
// `rows` of x; `strips` of the weight (gated: of each of the two); `can_decode`: the first kind
// takes such x.
MatmulShape MatmulShapeOf(int rows, int strips, bool gated, bool exact, bool can_decode);

}  // namespace softsplice::cuda
