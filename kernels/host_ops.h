// What backends whose device is the host share: weights that need no special layout, and copies.
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "kernels/backend.h"
#include "kernels/mat.h"

namespace softsplice {

// The body of a float32 weight: rows * cols numbers.
absl::StatusOr<Weight> PackFloat(const gguf::Tensor& tensor);
inline const float* Floats(const Weight& w) { return static_cast<const float*>(w.packed.get()); }

// A vector (float32, [1, elements]) or a table (of its own, or the tensor's bytes where those are
// many).
absl::StatusOr<Weight> PackVector(const gguf::Tensor& tensor);
absl::StatusOr<Weight> PackTable(const gguf::Tensor& tensor);
// What it allocates: nothing, where rows are read from the mapped file.
size_t PackedTableBytes(const gguf::Tensor& tensor);
// dst[cols] = the table's entry `row`, which must exist.
void TableRow(const Weight& table, int row, float* dst);

// dst and src have equal shapes and types.
void CopyMat(Mat dst, Mat src);

inline int Index(Mat index, int i) { return *index.Row<int32_t>(i); }
// The row of the caches that holds `position` of `sequence` (see KvPages).
inline size_t KvRow(const KvPages& pages, int sequence, int position) {
  const int block = position / pages.block_rows % Index(pages.blocks, sequence);
  return static_cast<size_t>(pages.table.Row<int32_t>(sequence)[block]) *
             static_cast<size_t>(pages.block_rows) +
         static_cast<size_t>(position % pages.block_rows);
}

}  // namespace softsplice
