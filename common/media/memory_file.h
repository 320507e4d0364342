// A file in memory with a position, as decoders want to read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace softsplice {

// Some of its bytes may read as others: what a header says wrongly is put right without a copy of
// the file. Not thread-safe.
class MemoryFile {
 public:
  explicit MemoryFile(absl::string_view bytes) : bytes_(bytes) {}

  // What is read at `offset`, in place of as many bytes. Patches come in the order of the file.
  void Patch(size_t offset, std::string bytes);

  int64_t size() const { return static_cast<int64_t>(bytes_.size()); }
  int64_t at() const { return at_; }
  // Up to `count` bytes from where it stands; how many there were.
  size_t Read(void* out, size_t count);
  // To `offset` from SEEK_SET, SEEK_CUR or SEEK_END, at most the end of the file; where that is.
  // -1: before its beginning, or no number.
  int64_t Seek(int64_t offset, int whence);

 private:
  struct Change {
    size_t offset;
    std::string bytes;
  };

  absl::string_view bytes_;
  std::vector<Change> patches_;
  int64_t at_ = 0;
};

}  // namespace softsplice
