// What one request tells the metrics, as it happens.
#pragma once

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "decoder_svc/encoder_pool/collector.h"
#include "decoder_svc/server/metrics.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// Not thread-safe: whoever submits the request calls Submitted; the engine's thread the rest.
class RequestRecord {
 public:
  // `metrics` outlives it.
  explicit RequestRecord(const DecoderMetrics& metrics) : metrics_(metrics) {}

  void Submitted(absl::Span<const EncodedMedium> media, int prompt_tokens);
  void Admitted(int cached);
  // `since_headers`: of the call.
  void Token(absl::Duration since_headers);
  void Wrote(const v1::Delta& delta) const;
  void Finished(v1::FinishReason reason) const;

 private:
  const DecoderMetrics& metrics_;
  Modality modality_ = Modality::kText;
  int prompt_tokens_ = 0;
  int tokens_ = 0;  // of the answer
  // SteadyNow() then.
  absl::Duration submitted_, admitted_, first_token_, last_token_;
};

}  // namespace softsplice
