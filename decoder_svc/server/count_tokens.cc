#include "decoder_svc/server/count_tokens.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "common/status/macros.h"
#include "common/text/utf8.h"

namespace softsplice {

void CountTokensCall::Begin(const v1::CountTokensRequest& request) {
  if (const absl::Status status = Prepare(request); !status.ok()) return End(status);
  std::shared_ptr<MediaBatch> media;
  {
    const std::lock_guard lock(mutex_);
    if (ended()) return;
    media = media_;
  }
  auto self = std::static_pointer_cast<CountTokensCall>(shared_from_this());
  media->Start([self](absl::StatusOr<std::vector<EncodedMedium>> encoded) {
    if (!encoded.ok()) return self->End(encoded.status());
    self->Guard([&] {
      auto response = self->Count(*encoded);
      if (!response.ok()) return self->End(response.status());
      self->Answer(*std::move(response));
    });
  });
}

absl::Status CountTokensCall::Prepare(const v1::CountTokensRequest& request) {
  ASSIGN_OR_RETURN(PromptPlan plan,
                   PlanPrompt({.chat = request.has_chat() ? &request.chat() : nullptr,
                               .raw = request.has_raw() ? &request.raw() : nullptr},
                              decoder_));
  pieces_ = std::move(plan.pieces);
  const std::lock_guard lock(mutex_);
  media_ = std::make_shared<MediaBatch>(decoder_, std::move(plan.media),
                                        MediaOptions{.header_only = true,
                                                     .deadline = call().deadline(),
                                                     .request_id = call().request_id(),
                                                     .traceparent = call().traceparent()});
  return absl::OkStatus();
}

absl::StatusOr<v1::CountTokensResponse> CountTokensCall::Count(
    const std::vector<EncodedMedium>& media) const {
  v1::CountTokensResponse response;
  const int64_t tokens = CountPrompt(pieces_, media, decoder_.tokenizer);
  response.set_tokens(static_cast<uint32_t>(std::min<int64_t>(tokens, UINT32_MAX)));
  if (request().include_token_ids() || request().include_rendered()) {
    RETURN_IF_ERROR(CheckFits(tokens, decoder_.engine.info().context_length));
  }
  if (request().include_token_ids()) {
    const Prompt prompt = BuildPrompt(pieces_, media, decoder_.tokenizer);
    response.mutable_token_ids()->Add(prompt.tokens.begin(), prompt.tokens.end());
  }
  if (request().include_rendered()) {
    response.set_rendered(ToUtf8(SpellPrompt(pieces_, media, decoder_.tokenizer)));
  }
  return response;
}

void CountTokensCall::Stop() {
  std::shared_ptr<MediaBatch> media;
  {
    const std::lock_guard lock(mutex_);
    media = media_;
  }
  if (media != nullptr) media->Cancel();
}

}  // namespace softsplice
