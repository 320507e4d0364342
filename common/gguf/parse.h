// Reads the header, metadata and tensor table of one GGUF v3 file from memory, checking everything.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/gguf/types.h"

namespace softsplice::gguf {

// A view of one tensor in the mapped file: row-major, dims[0] is the fastest (ggml's order), so a
// linear layer's weight has dims {in, out}. Valid as long as its File.
struct Tensor {
  std::string name;
  Type type = Type::kF32;
  std::vector<int64_t> dims;      // 1 to 4 of them, each >= 1 and < 2^31
  const uint8_t* data = nullptr;  // aligned to at least 8 bytes
  size_t bytes = 0;

  int64_t Cols() const { return dims[0]; }
  int64_t Rows() const { return Elements() / dims[0]; }
  int64_t Elements() const;
  size_t RowBytes() const { return bytes / static_cast<size_t>(Rows()); }
};

// A metadata value. Arrays are of one scalar type; integers of all widths are widened.
using Strings = std::vector<std::string>;
using Value = std::variant<int64_t, uint64_t, double, bool, std::string, std::vector<int64_t>,
                           std::vector<double>, std::vector<bool>, Strings>;
using Metadata = std::vector<std::pair<std::string, Value>>;

struct Contents {
  Metadata metadata;            // in file order, keys are unique
  std::vector<Tensor> tensors;  // in file order, names are unique, the bytes lie inside the file
  int64_t alignment = 32;       // of tensor data in the file
};

// `file` holds the whole file, from its first byte; the tensors point into it. FAILED_PRECONDITION
// (InvalidFile, naming `path`, what is wrong, the value and the limit) if it is not a GGUF v3 file
// that we understand.
absl::StatusOr<Contents> Parse(absl::string_view path, absl::Span<const uint8_t> file);

}  // namespace softsplice::gguf
