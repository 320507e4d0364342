// Reads little-endian values one after another from bytes of unknown origin; never past their end.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice::gguf {

class Cursor {
 public:
  // `path` names the file in errors; it and `bytes` must outlive the cursor.
  Cursor(absl::string_view path, absl::Span<const uint8_t> bytes) : path_(path), bytes_(bytes) {}

  absl::string_view path() const { return path_; }
  size_t offset() const { return offset_; }
  size_t remaining() const { return bytes_.size() - offset_; }

  // The next sizeof(T) bytes as a number. `what` names the value in errors.
  template <class T>
  absl::StatusOr<T> Read(absl::string_view what) {
    const auto bytes = Take(sizeof(T), what);
    if (!bytes.ok()) return bytes.status();
    T value;
    std::memcpy(&value, bytes->data(), sizeof(T));
    return value;
  }

  // The next `count` items of `item_bytes` each (the product can't overflow, as item_bytes <= 8 is
  // compared by division).
  absl::StatusOr<absl::Span<const uint8_t>> TakeItems(uint64_t count, size_t item_bytes,
                                                      absl::string_view what) {
    RETURN_IF_ERROR(CheckCount(count, item_bytes, what));
    return Take(static_cast<size_t>(count) * item_bytes, what);
  }

  // A string: 8 bytes of length, then its bytes, at most `limit` of them.
  absl::StatusOr<absl::string_view> ReadString(size_t limit, absl::string_view what) {
    const auto length = Read<uint64_t>(what);
    if (!length.ok()) return length.status();
    if (*length > limit) {
      return InvalidFile(
          path_, absl::StrCat(what, " has a length of ", *length, " bytes, the limit is ", limit));
    }
    const auto bytes = Take(static_cast<size_t>(*length), what);
    if (!bytes.ok()) return bytes.status();
    return absl::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }

  // An error if `count` items of at least `item_bytes` each don't fit in what is left: to be asked
  // before anything is allocated by a count.
  absl::Status CheckCount(uint64_t count, size_t item_bytes, absl::string_view what) const {
    if (count <= remaining() / item_bytes) return absl::OkStatus();
    return InvalidFile(path_, absl::StrCat(what, " has a count of ", count, ", but only ",
                                           remaining(), " bytes are left in the file at byte ",
                                           offset_, ": it is truncated or damaged"));
  }

 private:
  absl::StatusOr<absl::Span<const uint8_t>> Take(size_t count, absl::string_view what) {
    if (count > remaining()) {
      return InvalidFile(
          path_, absl::StrCat("the file ends in ", what, " (", count, " bytes wanted at byte ",
                              offset_, " of ", bytes_.size(), "): it is truncated or damaged"));
    }
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

  absl::string_view path_;
  absl::Span<const uint8_t> bytes_;
  size_t offset_ = 0;
};

}  // namespace softsplice::gguf
