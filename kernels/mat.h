// Non-owning views that every op works on.
#pragma once

#include <cstddef>
#include <cstdint>
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

  // The sub-views; ranges must lie inside.
  Mat Rows(int first, int count) const { return {Address(first, 0), count, cols, pitch, type}; }
  Mat Cols(int first, int count) const { return {Address(0, first), rows, count, pitch, type}; }
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

}  // namespace softsplice
