#include "common/gguf/part.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice::gguf {

absl::StatusOr<Tensor> ShapeOfPart(const Tensor& whole, Split split, int parts) {
  const int64_t of_rows = split == Split::kRows ? parts : 1;
  const int64_t of_columns = split == Split::kColumns ? parts : 1;
  const int64_t block = of_columns == 1 ? 1 : Info(whole.type).block_elements;
  if (whole.Rows() % of_rows != 0 || whole.Cols() % (block * of_columns) != 0) {
    return InvalidField("tensor_parallel", absl::StrCat(whole.name, " can't be cut into ", parts,
                                                        " equal parts of whole blocks"));
  }
  Tensor part = whole;
  part.dims = {whole.Cols() / of_columns, whole.Rows() / of_rows};
  part.bytes = whole.bytes / static_cast<size_t>(of_rows * of_columns);
  part.data = nullptr;
  return part;
}

absl::StatusOr<TensorPart> PartOf(const Tensor& whole, Split split, int index, int parts) {
  if (split == Split::kNone || parts == 1) return TensorPart{.tensor = whole};
  ASSIGN_OR_RETURN(const Tensor shape, ShapeOfPart(whole, split, parts));
  TensorPart part{.tensor = shape};
  if (split == Split::kRows) {
    part.tensor.data = whole.data + static_cast<size_t>(index) * shape.bytes;
    return part;
  }
  const size_t row_bytes = shape.RowBytes();
  part.bytes.resize(shape.bytes);
  const uint8_t* from = whole.data + static_cast<size_t>(index) * row_bytes;
  for (size_t row = 0; row < static_cast<size_t>(whole.Rows()); ++row) {
    std::memcpy(part.bytes.data() + row * row_bytes, from + row * whole.RowBytes(), row_bytes);
  }
  part.tensor.data = part.bytes.data();
  return part;
}

}  // namespace softsplice::gguf
