// The tensor types of GGUF, their block geometry, and exact dequantisation to float32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace softsplice::gguf {

// Those that we read. Values are ggml's type numbers, also those of types that have no name here.
enum class Type : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
};

struct TypeInfo {
  Type type;
  absl::string_view name;  // "Q4_0"
  int block_elements;      // numbers per block, 1 for plain floats
  int block_bytes;
};

// All that we read.
absl::Span<const TypeInfo> AllTypes();
bool IsRead(Type type);

// Of all types that ggml has had since GGUF v3; null: another number.
const TypeInfo* FindType(uint32_t type);
const TypeInfo& Info(Type type);

// Writes the `n` float32 values of `src`. `n` is a multiple of the block size. Bit-equal to
// gguf-py's dequantize.
void Dequantize(Type type, const void* src, float* dst, int64_t n);

}  // namespace softsplice::gguf
