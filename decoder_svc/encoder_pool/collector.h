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
  std::shared_ptr<const std::vector<float>> values;  // rows * dim; none if only headers were wanted
  std::string name;                                  // NameOfRows
  absl::Duration encode;                             // from asking to having all rows
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
  // After the last message: all of it, but for the time. The same errors.
  absl::StatusOr<EncodedMedium> Finish();

 private:
  template <class Response>
  absl::Status AddEvent(const Response& message);
  absl::Status AddHeader(const v1::SoftTokensHeader& header);
  absl::Status AddRows(const v1::SoftTokenRows& rows);
  absl::Status AddSummary(const v1::EncodeSummary& summary);

  const SoftTokensRules rules_;
  const Wanted wanted_;
  bool has_header_ = false;
  bool has_summary_ = false;
  v1::SoftTokensHeader header_;
  uint64_t row_bytes_ = 0;
  std::string data_;
  bool cache_hit_ = false;
};

}  // namespace softsplice
