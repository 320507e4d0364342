// Workspace of a forward pass: a bump allocator over one buffer of a backend.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/mat.h"

namespace softsplice {

// With a null base it only measures: the same calls on a null arena tell how large a buffer the
// pass needs (Peak). The same calls give the same addresses. Not thread-safe; the buffer is the
// caller's.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  Mat New(int rows, int cols, DType type = DType::kF32) {
    const size_t bytes = static_cast<size_t>(rows) * static_cast<size_t>(cols) * SizeOf(type);
    Mat mat{base_ == nullptr ? nullptr : base_ + used_, rows, cols, cols, type};
    used_ += (bytes + 255) & ~size_t{255};
    peak_ = std::max(peak_, used_);
    return mat;
  }
  size_t Mark() const { return used_; }
  void Release(size_t mark) { used_ = mark; }
  size_t Peak() const { return peak_; }

  // Releases what was allocated in its lifetime.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.Mark()) {}
    ~Scope() { arena_.Release(mark_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t mark_;
  };

 private:
  char* base_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace softsplice
