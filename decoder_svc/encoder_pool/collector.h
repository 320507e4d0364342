// Puts an encoder's stream together and checks that it is what it says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "decoder_svc/encoder_pool/soft_tokens.h"
#include "softsplice/v1/encoder.pb.h"
#include "softsplice/v1/soft_tokens.pb.h"

namespace softsplice {

// A medium as the decoder reads it.
struct EncodedMedium {
  v1::SoftTokensHeader header;
  std::vector<RowRun> runs;  // all that the header names; fewer while the rest is still to come
  absl::Duration encode;     // from asking to having all rows
  bool cache_hit = false;
};

// What an encoder was asked for.
struct Wanted {
  v1::Modality modality = v1::MODALITY_IMAGE;
  bool header_only = false;
};

// One per stream; not thread-safe.
class Collector {
 public:
  Collector(const SoftTokensRules& rules, const Wanted& wanted) : rules_(rules), wanted_(wanted) {}

  // The next message. FAILED_PRECONDITION: of another model; INTERNAL (BAD_ENCODER_ANSWER): not
  // what the contract says.
  absl::Status Add(const v1::EncodeImageResponse& message) { return AddEvent(message); }
  absl::Status Add(const v1::EncodeAudioResponse& message) { return AddEvent(message); }
  absl::Status Add(const v1::EncodeVideoResponse& message) { return AddEvent(message); }
  // How many runs are complete; their rows may still turn out to be damaged.
  size_t complete() const { return medium_.runs.size(); }
  // Those, and the header.
  const EncodedMedium& so_far() const { return medium_; }
  // After the last message: all of it, but for the time. The same errors.
  absl::StatusOr<EncodedMedium> Finish();

 private:
  template <class Response>
  absl::Status AddEvent(const Response& message);
  absl::Status AddHeader(const v1::SoftTokensHeader& header);
  absl::Status AddRows(const v1::SoftTokenRows& rows);
  absl::Status CompleteRuns();
  absl::Status AddSummary(const v1::EncodeSummary& summary);

  const SoftTokensRules rules_;
  const Wanted wanted_;
  bool has_header_ = false;
  bool has_summary_ = false;
  EncodedMedium medium_;
  std::vector<RowRun> counted_;  // all runs
  uint64_t row_bytes_ = 0;
  uint64_t rows_ = 0;  // that came
  uint32_t crc_ = 0;   // of them
  std::string data_;   // of the first run that is not complete
};

}  // namespace softsplice
