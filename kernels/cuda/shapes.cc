// See shapes.h.
#include "kernels/cuda/shapes.h"

#include <algorithm>

namespace softsplice::cuda {

// About as many as the multiprocessors of the devices that we know: 108 to 148.
constexpr int kEnoughBlocks = 128;
// Blocks for one or several strips in turn: two on each multiprocessor.
constexpr int kMostDecodeBlocks = 264;

// A warp has no barriers; more of them have less to do one after the other.
int NormThreads(int numbers) {
  if (numbers <= 128) return 32;
  for (const int threads : {128, 512, 1024}) {
    if (numbers <= threads * kNormNumbers) return threads;
  }
  return 0;
}

ElementShape ElementShapeOf(int cols) {
  const int threads_of_row = std::clamp(cols, 1, kMostElementThreads);
  const int rows_of_block = kMostElementThreads / threads_of_row;
  return {.blocks_per_row = (cols + kElementsPerBlock - 1) / kElementsPerBlock,
          .rows_of_block = rows_of_block,
          .threads_of_row = threads_of_row,
          .threads = (rows_of_block * threads_of_row + 31) / 32 * 32};
}

MatmulShape MatmulShapeOf(int rows, int strips, const MatmulKind& kind) {
  const auto blocks = [](int count, int of_block) { return (count + of_block - 1) / of_block; };
  const bool decodes = kind.can_decode && rows <= MostDecoded(kind.exact);
  if (!decodes && kind.warpgroups && !kind.exact) {
    const auto shape = [&](int token_tiles) {
      return MatmulShape{.decode = false,
                         .warpgroups = true,
                         .strips = 1,
                         .token_tiles = token_tiles,
                         .blocks_x = blocks(rows, 8 * token_tiles),
                         .blocks_y = blocks(kind.gated ? 2 * strips : strips, kWarpgroupStrips),
                         .blocks_z = kind.weights};
    };
    const MatmulShape few = shape(kFewWarpgroupTiles);
    const bool at_once = few.blocks_x * few.blocks_y * few.blocks_z <= kEnoughBlocks;
    return at_once || !kind.many_tokens ? few : shape(kManyWarpgroupTiles);
  }
  if (!decodes) {
    const int token_tiles = kind.exact ? kExactTokenTiles : kPrefillTokenTiles;
    const auto shape = [&](int of_warp) {
      return MatmulShape{.decode = false,
                         .warpgroups = false,
                         .strips = of_warp,
                         .token_tiles = token_tiles,
                         .blocks_x = blocks(rows, 32 * token_tiles),
                         .blocks_y = blocks(kind.gated ? 2 * strips : strips, 2 * of_warp),
                         .blocks_z = kind.weights};
    };
    const MatmulShape many = shape(kManyStrips);
    const bool few =
        kind.exact || !kind.many_strips || many.blocks_x * many.blocks_y < kEnoughBlocks;
    return few ? shape(kFewStrips) : many;
  }
  // With more rows a second strip halves what is read of x.
  const int of_warp = rows > 8 || kind.gated ? 2 : 1;
  const int token_tiles = rows <= 8 ? 1 : kind.is_bfloat16 ? kManyTokenTiles : kFewTokenTiles;
  const int blocks_x = blocks(rows, 8 * token_tiles);
  const int most = std::max(1, kMostDecodeBlocks / (blocks_x * kind.weights));
  return {.decode = true,
          .warpgroups = false,
          .strips = of_warp,
          .token_tiles = token_tiles,
          .blocks_x = blocks_x,
          .blocks_y = std::min(blocks(strips, kind.gated ? 1 : of_warp), most),
          .blocks_z = kind.weights};
}

}  // namespace softsplice::cuda
