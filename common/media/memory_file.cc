// See memory_file.h.
#include "common/media/memory_file.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

namespace softsplice {

void MemoryFile::Patch(size_t offset, std::string bytes) {
  patches_.push_back({offset, std::move(bytes)});
}

size_t MemoryFile::Read(void* out, size_t count) {
  const auto from = static_cast<size_t>(at_);
  const size_t taken = bytes_.copy(static_cast<char*>(out), count, from);
  const size_t to = from + taken;
  auto patch = std::partition_point(patches_.begin(), patches_.end(), [&](const Change& change) {
    return change.offset + change.bytes.size() <= from;
  });
  for (; patch != patches_.end() && patch->offset < to; ++patch) {
    const size_t begin = std::max(from, patch->offset);
    const size_t end = std::min(to, patch->offset + patch->bytes.size());
    std::memcpy(static_cast<char*>(out) + (begin - from), &patch->bytes[begin - patch->offset],
                end - begin);
  }
  at_ += static_cast<int64_t>(taken);
  return taken;
}

int64_t MemoryFile::Seek(int64_t offset, int whence) {
  const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? at_ : size();
  int64_t target = 0;
  if (__builtin_add_overflow(base, offset, &target) || target < 0) return -1;
  at_ = std::min(target, size());
  return at_;
}

}  // namespace softsplice
