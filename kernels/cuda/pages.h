// Where positions lie in the caches of keys and values, as kernels see it (see KvPages).
#pragma once

#include "kernels/cuda/view.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

struct Pages {
  View<const int> table;
  View<const int> blocks;
  int block_rows;

  __device__ int RowOf(int sequence, int position) const {
    const int block = position / block_rows % *blocks.Row(sequence);
    return table.Row(sequence)[block] * block_rows + position % block_rows;
  }
};
inline Pages PagesOf(const KvPages& pages) {
  return {ViewOf<const int>(pages.table), ViewOf<const int>(pages.blocks), pages.block_rows};
}

}  // namespace softsplice::cuda
