// How kernels are launched: pure functions of the shapes of their arguments.
#pragma once

#include <cstddef>

namespace softsplice::cuda {

// What kernels are built for: devices of this compute capability, whose blocks may have so many
// bytes of shared memory.
inline constexpr int kLeastCapability = 8;
inline constexpr size_t kSharedOfBlock = size_t{163} << 10;

// Threads for one row (or group of columns) of a norm of so many numbers: each has some of them in
// registers. 0: more than a block has room for, which are 8,192.
inline constexpr int kNormNumbers = 8;  // of a thread
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
// outputs, a warp for each slice of the columns; else by blocks of 128 or (exact) 64 rows and of
// two warps' strips. Blocks next to each other have the same strips.
inline constexpr int kMatmulThreads = 256;
inline constexpr int kMostDecoded = 64;
inline constexpr int kPrefillTokenTiles = 4;  // of a warp: eight rows each; a block has four times
inline constexpr int kExactTokenTiles = 2;    // as many
inline constexpr int kManyStrips = 4;         // of a warp in the prefill kernel, where that makes
inline constexpr int kFewStrips = 2;          // blocks enough, and else

struct MatmulShape {
  bool decode;
  int strips;                            // of a warp; gated: of both weights
  int token_tiles;                       // of a warp
  int blocks_x, blocks_y, blocks_z = 1;  // for rows, for strips, for weights
};
struct MatmulKind {
  bool gated = false;
  bool exact = false;
  bool has_min = false;    // of the format: registers do for few strips only
  bool can_decode = true;  // the first kind of blocks takes such x
  int weights = 1;
};
// `rows` of x; `strips` of the weight (gated: of each of the two; of several: of the largest).
MatmulShape MatmulShapeOf(int rows, int strips, const MatmulKind& kind);

}  // namespace softsplice::cuda
