#include "kernels/cpu/matmul/huge_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

namespace softsplice {
namespace {
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kPage = 4096;
}  // namespace

HugeBuffer::HugeBuffer(size_t bytes) {
  // The end is a small page's, so that a short tail doesn't occupy a large one.
  bytes = (bytes + kPage - 1) & ~(kPage - 1);
  if (bytes == 0) return;
  void* map =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return;
  char* begin = static_cast<char*>(map);
  const size_t skip = -reinterpret_cast<uintptr_t>(begin) & (kHugePage - 1);
  if (skip > 0) munmap(begin, skip);
  munmap(begin + skip + bytes, kHugePage - skip);
  data_ = begin + skip;
  bytes_ = bytes;
  madvise(data_, bytes_, MADV_HUGEPAGE);  // a kernel without large pages may refuse
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace softsplice
