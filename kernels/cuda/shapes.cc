// See shapes.h.
#include "kernels/cuda/shapes.h"

#include <algorithm>

namespace softsplice::cuda {

// A warp has no barriers; more of them hide more of the memory's latency.
int NormThreads(int numbers) { return numbers <= 512 ? 32 : 256; }

ElementShape ElementShapeOf(int cols) {
  return {(cols + kElementsPerBlock - 1) / kElementsPerBlock,
          std::min((cols + 31) / 32 * 32, kMostElementThreads)};
}

MatmulShape MatmulShapeOf(int rows, int strips, bool gated, bool exact, bool can_decode) {
  const auto blocks = [](int count, int of_block) { return (count + of_block - 1) / of_block; };
  if (!can_decode || rows > kMostDecoded) {
    const int token_tiles = exact ? kExactTokenTiles : kPrefillTokenTiles;
    return {false, kPrefillStrips, token_tiles, blocks(rows, 16 * token_tiles),
            blocks(strips, 4 * (gated ? 1 : kPrefillStrips))};
  }
  // With more rows a second strip halves what is read of x.
  const int of_warp = rows > 8 || gated ? 2 : 1, token_tiles = rows > 8 ? 4 : 1;
  return {true, of_warp, token_tiles, blocks(rows, 8 * token_tiles),
          blocks(strips, gated ? 1 : of_warp)};
}

}  // namespace softsplice::cuda
