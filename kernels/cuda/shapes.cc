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

}  // namespace softsplice::cuda
