// The method CountTokens.
#pragma once

#include <memory>
#include <vector>

#include "common/server/stream_call.h"
#include "decoder_svc/server/context.h"
#include "decoder_svc/server/media.h"
#include "decoder_svc/server/prompt.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// Check and tokenise (on a worker), ask the encoder for the media's row counts, count.
class CountTokensCall final : public AnswerCall<v1::CountTokensRequest, v1::CountTokensResponse> {
 public:
  // `decoder` outlives the call and its work.
  CountTokensCall(Call call, const Calls& calls, const DecoderContext& decoder)
      : AnswerCall(std::move(call), calls, CallWeight::kHeavy), decoder_(decoder) {}

 private:
  void Begin(const v1::CountTokensRequest& request) override;
  void Stop() override;

  absl::Status Prepare(const v1::CountTokensRequest& request);
  absl::StatusOr<v1::CountTokensResponse> Count(const std::vector<EncodedMedium>& media) const;

  const DecoderContext& decoder_;
  std::vector<PromptPiece> pieces_;
  std::shared_ptr<MediaBatch> media_;  // under mutex_
};

}  // namespace softsplice
