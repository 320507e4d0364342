#include "decoder_svc/server/service.h"

#include <memory>
#include <string>
#include <utility>

#include "common/server/call_service.h"
#include "common/server/device_info.h"
#include "common/server/stream_call.h"
#include "common/text/utf8.h"
#include "decoder_svc/server/count_tokens.h"
#include "decoder_svc/server/generate.h"
#include "decoder_svc/server/session_calls.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {
namespace {

class GetInfoCall final : public AnswerCall<v1::GetDecoderInfoRequest, v1::GetDecoderInfoResponse> {
 public:
  GetInfoCall(Call call, const Calls& calls, const DecoderContext& decoder)
      : AnswerCall(std::move(call), calls, CallWeight::kLight), decoder_(decoder) {}

 private:
  void Begin(const v1::GetDecoderInfoRequest& /*request*/) override {
    const ModelInfo& model = decoder_.engine.info();
    v1::GetDecoderInfoResponse response;
    response.set_version(SOFTSPLICE_VERSION);
    response.set_model_name(ToUtf8(model.name));
    response.set_dim(model.dim);
    response.set_vocabulary_size(model.vocabulary_size);
    response.set_context_length(model.context_length);
    response.set_max_sequences(model.max_sequences);
    response.set_backend(model.backend);
    FillLoad(response.mutable_load());
    FillEncoders(&response);
    if (decoder_.devices != nullptr) FillDevices(decoder_.devices->last(), &response);
    Answer(std::move(response));
  }

  void FillLoad(v1::DecoderLoad* to) const {
    const EngineLoad load = decoder_.engine.load();
    to->set_queued(load.queued);
    to->set_running(load.running);
    to->set_held(load.held);
    to->set_kv_bytes_total(load.kv_bytes_total);
    to->set_kv_bytes_used(load.kv_bytes_used);
    to->set_preparing(decoder_.counts.preparing);
    to->set_encoding(decoder_.counts.encoding);
    to->set_unread(decoder_.counts.unread);
    to->set_sessions(decoder_.sessions.count());
  }

  void FillEncoders(v1::GetDecoderInfoResponse* to) const {
    if (decoder_.encoders == nullptr) return;
    to->set_encoder_fingerprint(decoder_.encoders->fingerprint());
    for (const EncoderTargetInfo& info : decoder_.encoders->targets()) {
      v1::EncoderTarget* target = to->add_encoders();
      target->set_address(info.address);
      target->set_name(info.name);
      target->set_healthy(info.state == v1::ENCODER_STATE_HEALTHY);
      target->set_state(info.state);
      target->set_reason(ToUtf8(info.reason));
      target->set_in_flight(info.in_flight);
    }
  }

  const DecoderContext& decoder_;
};

class DecoderServiceImpl final : public CallService {
 public:
  explicit DecoderServiceImpl(const DecoderContext& context)
      : CallService(&DecoderServiceDescriptor(), context.calls) {
    Serve<GenerateCall>("Generate", context);
    Serve<CountTokensCall>("CountTokens", context);
    Serve<CreateSessionCall>("CreateSession", context);
    Serve<ForkSessionCall>("ForkSession", context);
    Serve<DeleteSessionCall>("DeleteSession", context);
    Serve<GetInfoCall>("GetDecoderInfo", context);
  }
};

}  // namespace

const google::protobuf::ServiceDescriptor& DecoderServiceDescriptor() {
  return *v1::GenerateRequest::descriptor()->file()->service(0);
}

NamedService MakeDecoderService(const DecoderContext& context) {
  return {v1::DecoderService::service_full_name(), std::make_shared<DecoderServiceImpl>(context)};
}

}  // namespace softsplice
