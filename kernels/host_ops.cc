// See host_ops.h.
#include "kernels/host_ops.h"

#include <cstring>
#include <memory>
#include <utility>

#include "common/gguf/types.h"
#include "common/status/macros.h"
#include "kernels/host_memory.h"

namespace softsplice {
namespace {

// Larger tables than that are read from the mapped file for as long as they are used.
constexpr size_t kMostCopied = size_t{32} << 20;

// What a table's `packed` points to.
struct Table {
  gguf::Type type;
  const uint8_t* data;
  size_t row_bytes;
  std::shared_ptr<void> copy;  // null: the data is the file's
};

}  // namespace

absl::StatusOr<Weight> PackFloat(const gguf::Tensor& tensor) {
  ASSIGN_OR_RETURN(std::shared_ptr<void> body,
                   AllocateHost(static_cast<size_t>(tensor.Elements()) * sizeof(float)));
  gguf::Dequantize(tensor.type, tensor.data, static_cast<float*>(body.get()), tensor.Elements());
  return Weight{.rows = static_cast<int>(tensor.Rows()),
                .cols = static_cast<int>(tensor.Cols()),
                .packed = std::move(body)};
}

absl::StatusOr<Weight> PackVector(const gguf::Tensor& tensor) {
  ASSIGN_OR_RETURN(Weight w, PackFloat(tensor));
  w.rows = 1;
  w.cols = static_cast<int>(tensor.Elements());
  return w;
}

size_t PackedTableBytes(const gguf::Tensor& tensor) {
  return tensor.bytes <= kMostCopied ? tensor.bytes : 0;
}

absl::StatusOr<Weight> PackTable(const gguf::Tensor& tensor) {
  auto table = std::make_shared<Table>(Table{tensor.type, tensor.data, tensor.RowBytes(), nullptr});
  if (PackedTableBytes(tensor) > 0) {
    ASSIGN_OR_RETURN(table->copy, AllocateHost(tensor.bytes));
    std::memcpy(table->copy.get(), tensor.data, tensor.bytes);
    table->data = static_cast<const uint8_t*>(table->copy.get());
  }
  return Weight{.rows = static_cast<int>(tensor.Rows()),
                .cols = static_cast<int>(tensor.Cols()),
                .packed = std::move(table)};
}

void TableRow(const Weight& table, int row, float* dst) {
  const Table& body = *static_cast<const Table*>(table.packed.get());
  gguf::Dequantize(body.type, body.data + static_cast<size_t>(row) * body.row_bytes, dst,
                   table.cols);
}

void CopyMat(Mat dst, Mat src) {
  const size_t size = SizeOf(src.type);
  const size_t bytes = static_cast<size_t>(src.cols) * size;
  if (bytes == 0) return;  // there may be no memory either
  for (int r = 0; r < src.rows; ++r) {
    std::memcpy(dst.Rows(r, 1).data, src.Rows(r, 1).data, bytes);
  }
}

}  // namespace softsplice
