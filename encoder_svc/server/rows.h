// Rows of soft tokens as they go on the wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "encoder_svc/encoder.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

// INVALID_ARGUMENT: a type that the contract does not know.
absl::Status CheckDataType(v1::DataType type);

// What the header of every medium has.
void FillHeader(int rows, int dim, v1::DataType type, const Digest& fingerprint,
                const Digest& content_digest, v1::SoftTokensHeader* header);
void FillSummary(const EncodeTimings& timings, uint32_t crc32c, v1::EncodeSummary* summary);

// Hands out rows in chunks of at most 1 MiB (at least one row), and their checksum at the end. A
// chunk has rows of one run only.
class RowChunks {
 public:
  RowChunks(int dim, v1::DataType type);

  // The next run of rows: a picture's, or those of a segment of a sound. `values` are whole rows.
  void Add(Values values);
  // Runs of which not all was handed out.
  size_t runs() const { return runs_.size(); }
  bool empty() const { return runs_.empty(); }
  // Fills in the next chunk; not while empty(). Returns how many values it lets go of: a whole
  // run's, once all of it was handed out.
  size_t Next(v1::SoftTokenRows* rows);
  // CRC32C of all bytes so far.
  uint32_t crc32c() const { return crc32c_; }

 private:
  const size_t dim_;
  const v1::DataType type_;
  const size_t chunk_rows_;
  std::deque<Values> runs_;
  size_t sent_ = 0;  // rows of the first run
  size_t next_row_ = 0;
  uint32_t crc32c_ = 0;
};

}  // namespace softsplice
