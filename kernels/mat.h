// Non-owning views that every op works on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>

namespace softsplice {

enum class DType : uint8_t { kF32, kF16, kBF16, kI32 };

constexpr size_t SizeOf(DType type) { return type == DType::kF16 || type == DType::kBF16 ? 2 : 4; }

// A row-major matrix in a backend's memory: a row is a token, a patch or a frame. An index vector
// is n rows of one kI32.
struct Mat {
  void* data = nullptr;
  int rows = 0;
  int cols = 0;
  int pitch = 0;  // numbers from one row to the next
  DType type = DType::kF32;
  // kBF16: what ops write here is clamped to [lo, hi].
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();

  // The sub-views; ranges must lie inside.
  Mat Rows(int first, int count) const {
    return {Address(first, 0), count, cols, pitch, type, lo, hi};
  }
  Mat Cols(int first, int count) const {
    return {Address(0, first), rows, count, pitch, type, lo, hi};
  }
  template <class T>
  T* Row(int r) const {
    return static_cast<T*>(data) + static_cast<size_t>(r) * static_cast<size_t>(pitch);
  }

 private:
  void* Address(int row, int col) const {
    if (data == nullptr) return nullptr;
    return static_cast<char*>(data) +
           (static_cast<size_t>(row) * static_cast<size_t>(pitch) + static_cast<size_t>(col)) *
               SizeOf(type);
  }
};

// A packed weight: only the backend that packed it can read `packed`. Empty (rows == 0) where a
// model has none.
struct Weight {
  int rows = 0;  // outputs of a linear layer, entries of a table, 1 for a vector
  int cols = 0;
  // Clipped linears: inputs are clamped to [in_lo, in_hi], outputs to [out_lo, out_hi].
  float in_lo = -std::numeric_limits<float>::infinity();
  float in_hi = std::numeric_limits<float>::infinity();
  float out_lo = -std::numeric_limits<float>::infinity();
  float out_hi = std::numeric_limits<float>::infinity();
  std::shared_ptr<const void> packed;

  explicit operator bool() const { return rows > 0; }
};

// A linear layer and where its result goes.
struct Linear {
  Mat y;
  const Weight* w = nullptr;
};

// x with the bounds of the linear layers that read it, and nothing else does: what writes it clamps
// for all of them. As it is, where they differ, and where x keeps more than products take.
inline Mat ReadBy(Mat x, std::initializer_list<const Weight*> readers) {
  const Weight& first = **readers.begin();
  const bool alike = std::all_of(readers.begin(), readers.end(), [&](const Weight* w) {
    return w->in_lo == first.in_lo && w->in_hi == first.in_hi;
  });
  if (x.type == DType::kBF16 && alike) x.lo = first.in_lo, x.hi = first.in_hi;
  return x;
}

}  // namespace softsplice
