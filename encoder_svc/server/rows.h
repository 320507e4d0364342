// Rows of soft tokens as they go on the wire.
#pragma once

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

// Bytes of one number; 0 for a type that the contract does not know.
int DataTypeBytes(v1::DataType type);

// `values` as little-endian numbers of `type`; 16-bit ones are rounded to nearest even.
std::string PackValues(absl::Span<const float> values, v1::DataType type);

// Hands out the rows of a picture in chunks of at most 1 MiB (at least one row), and their checksum
// at the end.
class RowChunks {
 public:
  // `values` has rows * dim numbers and must outlive it.
  RowChunks(absl::Span<const float> values, int dim, v1::DataType type);

  bool done() const { return next_row_ == rows_; }
  // Fills in the next chunk; not after done().
  void Next(v1::SoftTokenRows* rows);
  // CRC32C of all bytes so far.
  uint32_t crc32c() const { return crc32c_; }

 private:
  const absl::Span<const float> values_;
  const int dim_;
  const v1::DataType type_;
  const int rows_;
  const int chunk_rows_;
  int next_row_ = 0;
  uint32_t crc32c_ = 0;
};

}  // namespace softsplice
