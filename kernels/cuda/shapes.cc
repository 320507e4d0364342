// See shapes.h.
#include "kernels/cuda/shapes.h"

namespace softsplice::cuda {

// A warp has no barriers; more of them hide more of the memory's latency.
int NormThreads(int numbers) { return numbers <= 512 ? 32 : 256; }

}  // namespace softsplice::cuda
