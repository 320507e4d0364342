// Reads GGUF v3 files (also split ones) through mmap. Every count, length, offset and alignment of
// the file is checked when it is opened; after that, all views are inside the mapping. Thread-safe
// once opened.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gguf/parse.h"
#include "common/gguf/types.h"

namespace softsplice::gguf {

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
  size_t parts() const { return mappings_.size(); }
  int64_t alignment() const { return alignment_; }  // of tensor data, in the first part
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }  // of the first part

  // Metadata look-ups. Errors (InvalidFile) name the key, what was expected and what was found.
  bool Has(absl::string_view key) const;
  bool IsArray(absl::string_view key) const;  // false if there is no such key
  absl::StatusOr<int64_t> Int(absl::string_view key) const;
  absl::StatusOr<double> Float(absl::string_view key) const;  // takes integers too
  absl::StatusOr<bool> Bool(absl::string_view key) const;
  absl::StatusOr<std::string> String(absl::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> Ints(absl::string_view key) const;  // also of bools (0, 1)
  absl::StatusOr<const Strings*> StringList(absl::string_view key) const;

  // The tensor `name`; its dims must equal `dims` in ggml's order (trailing ones of 1 ignored),
  // where -1 accepts anything.
  absl::StatusOr<const Tensor*> Find(absl::string_view name,
                                     std::initializer_list<int64_t> dims) const;
  // The same, and it must be F32: its numbers.
  absl::StatusOr<const float*> FindF32(absl::string_view name,
                                       std::initializer_list<int64_t> dims) const;
  // Null if there is none.
  const Tensor* FindOptional(absl::string_view name) const;

  // FAILED_PRECONDITION (FILE_CHANGED): somebody wrote to the file, or cut it, since it was opened,
  // so that what is read from it is another model's or ends the process (see lost_pages.h). A file
  // that was replaced or deleted is still the old one here: no error.
  absl::Status CheckUnchanged() const;

  // Tells the kernel that `tensor`'s pages are not needed soon (they were packed); reading them
  // again still works.
  void DropPages(const Tensor& tensor) const;

 private:
  struct Mapping;
  struct Split;  // what a part says about the file it belongs to

  File();
  absl::Status ReadPart(const std::string& path, const Split& split, int part);
  absl::StatusOr<const Value*> Get(absl::string_view key) const;

  std::string path_;
  uint64_t file_bytes_ = 0;
  int64_t alignment_ = 0;
  std::vector<std::unique_ptr<Mapping>> mappings_;
  Metadata metadata_;
  std::vector<Tensor> tensors_;
  absl::flat_hash_map<std::string, size_t> metadata_index_;
  absl::flat_hash_map<std::string, size_t> tensor_index_;
};

}  // namespace softsplice::gguf
