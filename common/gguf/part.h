// Parts of matrices, for devices that hold one each.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"

namespace softsplice::gguf {

enum class Split : uint8_t { kNone, kRows, kColumns };

// One of `parts` equal parts of a matrix, without data. INVALID_ARGUMENT: rows, or columns in whole
// blocks, don't come out even.
absl::StatusOr<Tensor> ShapeOfPart(const Tensor& whole, Split split, int parts);

// A tensor over the whole one's bytes, or over its own.
struct TensorPart {
  Tensor tensor;
  std::vector<uint8_t> bytes;
};

// Part `index` of `parts`, in order; the whole where `split` is kNone. Errors are ShapeOfPart's.
absl::StatusOr<TensorPart> PartOf(const Tensor& whole, Split split, int index, int parts);

}  // namespace softsplice::gguf
