#include "decoder_svc/server/count_tokens.h"

#include <memory>
#include <utility>
#include <vector>

#include "common/server/call.h"
#include "common/status/macros.h"
#include "decoder_svc/server/media.h"
#include "decoder_svc/server/prompt.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {
namespace {

// Check, ask the encoder for the media's row counts, count.
class CountTokensCall final : public grpc::ServerUnaryReactor {
 public:
  CountTokensCall(Call call, const v1::CountTokensRequest& request, const DecoderContext& decoder,
                  v1::CountTokensResponse* response)
      : call_(std::move(call)), request_(request), decoder_(decoder), response_(response) {}

  void Start() {
    if (const absl::Status status = Prepare(); !status.ok()) return End(status);
    media_->Start([this](absl::StatusOr<std::vector<EncodedMedium>> media) {
      if (media.ok()) Count(*media);
      End(media.status());
    });
  }

  void OnCancel() override {
    if (media_ != nullptr) media_->Cancel();
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Prepare() {
    ASSIGN_OR_RETURN(PromptPlan plan,
                     PlanPrompt(request_.has_chat() ? &request_.chat() : nullptr,
                                request_.has_raw() ? &request_.raw() : nullptr, decoder_));
    pieces_ = std::move(plan.pieces);
    media_ = std::make_shared<MediaBatch>(decoder_, std::move(plan.media),
                                          MediaOptions{.header_only = true,
                                                       .deadline = call_.deadline(),
                                                       .request_id = call_.request_id(),
                                                       .traceparent = call_.traceparent()});
    return absl::OkStatus();
  }

  void Count(const std::vector<EncodedMedium>& media) {
    std::vector<MediumRows> rows;
    for (const EncodedMedium& medium : media) rows.push_back(RowsOf(medium));
    const Prompt prompt = BuildPrompt(pieces_, rows, decoder_.tokenizer);
    response_->set_tokens(prompt.tokens.size());
    response_->mutable_token_ids()->Add(prompt.tokens.begin(), prompt.tokens.end());
    response_->set_rendered(SpellPrompt(pieces_, rows, decoder_.tokenizer));
  }

  void End(const absl::Status& status) { Finish(call_.End(status)); }

  Call call_;
  const v1::CountTokensRequest& request_;
  const DecoderContext& decoder_;
  v1::CountTokensResponse* const response_;
  std::vector<PromptPiece> pieces_;
  std::shared_ptr<MediaBatch> media_;
};

}  // namespace

grpc::ServerUnaryReactor* StartCountTokens(grpc::CallbackServerContext* context,
                                           const v1::CountTokensRequest& request,
                                           const DecoderContext& decoder,
                                           v1::CountTokensResponse* response) {
  auto* call = new CountTokensCall(Call(context, decoder.logger, "DecoderService", "CountTokens"),
                                   request, decoder, response);
  call->Start();
  return call;
}

}  // namespace softsplice
