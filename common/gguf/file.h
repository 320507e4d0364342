// Reads GGUF v3 files (also split ones) through mmap. Every count, length, offset and alignment of
// the file is checked when it is opened; after that, all views are inside the mapping. Thread-safe
// once opened.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gguf/types.h"

namespace softsplice::gguf {

// A view of one tensor in the mapped file: row-major, dims[0] is the fastest (ggml's order), so a
// linear layer's weight has dims {in, out}. Valid as long as its File.
struct Tensor {
  std::string name;
  Type type = Type::kF32;
  std::vector<int64_t> dims;  // 1 to 4 of them, each >= 1
  const uint8_t* data = nullptr;
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

class File {
 public:
  // Opens `path`; of a split file ("-00001-of-0000N.gguf") any part may be named, all are opened.
  // NOT_FOUND / PERMISSION_DENIED: can't be read. FAILED_PRECONDITION (InvalidFile): not a GGUF v3
  // file we understand.
  static absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  uint64_t file_bytes() const { return file_bytes_; }  // of all parts
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const std::vector<std::pair<std::string, Value>>& metadata() const { return metadata_; }

  // Metadata look-ups. Errors (InvalidFile) name the key, what was expected and what was found.
  bool Has(absl::string_view key) const;
  absl::StatusOr<int64_t> Int(absl::string_view key) const;
  absl::StatusOr<double> Float(absl::string_view key) const;  // takes integers too
  absl::StatusOr<bool> Bool(absl::string_view key) const;
  absl::StatusOr<std::string> String(absl::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> Ints(absl::string_view key) const;  // also of bools (0, 1)
  absl::StatusOr<const Strings*> StringList(absl::string_view key) const;

  // The tensor `name`; its dims must equal `dims` in ggml's order (trailing ones ignored), where -1
  // accepts anything.
  absl::StatusOr<const Tensor*> Find(absl::string_view name,
                                     std::initializer_list<int64_t> dims) const;
  // Null if there is none.
  const Tensor* FindOptional(absl::string_view name) const;

  // Tells the kernel that `tensor`'s pages are not needed soon (they were packed); reading them
  // again still works.
  void DropPages(const Tensor& tensor) const;

 private:
  struct Mapping {
    const uint8_t* data = nullptr;
    size_t bytes = 0;
  };
  File() = default;
  absl::Status ReadPart(const std::string& path, bool first);

  std::string path_;
  uint64_t file_bytes_ = 0;
  std::vector<Mapping> mappings_;
  std::vector<std::pair<std::string, Value>> metadata_;
  std::vector<Tensor> tensors_;
  absl::flat_hash_map<std::string, size_t> metadata_index_;
  absl::flat_hash_map<std::string, size_t> tensor_index_;
};

}  // namespace softsplice::gguf
