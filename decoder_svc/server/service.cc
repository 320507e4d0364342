#include "decoder_svc/server/service.h"

#include <memory>

#include "common/server/call.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "decoder_svc/server/count_tokens.h"
#include "decoder_svc/server/generate.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {
namespace {

class DecoderServiceImpl final : public v1::DecoderService::CallbackService {
 public:
  explicit DecoderServiceImpl(const DecoderContext& context) : context_(context) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override {
    return StartGenerate(context, *request, context_);
  }

  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const v1::CountTokensRequest* request,
                                        v1::CountTokensResponse* response) override {
    return StartCountTokens(context, *request, context_, response);
  }

  grpc::ServerUnaryReactor* CreateSession(grpc::CallbackServerContext* context,
                                          const v1::CreateSessionRequest* /*request*/,
                                          v1::CreateSessionResponse* /*response*/) override {
    return NoSessions(context, "CreateSession");
  }
  grpc::ServerUnaryReactor* ForkSession(grpc::CallbackServerContext* context,
                                        const v1::ForkSessionRequest* /*request*/,
                                        v1::ForkSessionResponse* /*response*/) override {
    return NoSessions(context, "ForkSession");
  }
  grpc::ServerUnaryReactor* DeleteSession(grpc::CallbackServerContext* context,
                                          const v1::DeleteSessionRequest* /*request*/,
                                          v1::DeleteSessionResponse* /*response*/) override {
    return NoSessions(context, "DeleteSession");
  }

  grpc::ServerUnaryReactor* GetDecoderInfo(grpc::CallbackServerContext* context,
                                           const v1::GetDecoderInfoRequest* /*request*/,
                                           v1::GetDecoderInfoResponse* response) override {
    FillInfo(response);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  grpc::ServerUnaryReactor* NoSessions(grpc::CallbackServerContext* context, const char* method) {
    Call call(context, context_.logger, "DecoderService", method);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(
        call.End(MakeError(absl::StatusCode::kUnimplemented,
                           "this version has no sessions; send the whole conversation to Generate",
                           {.reason = reason::kNotSupported})));
    return reactor;
  }

  void FillInfo(v1::GetDecoderInfoResponse* response) const {
    const ModelInfo& model = context_.engine.info();
    response->set_version(SOFTSPLICE_VERSION);
    response->set_model_name(model.name);
    response->set_dim(model.dim);
    response->set_vocabulary_size(model.vocabulary_size);
    response->set_context_length(model.context_length);
    response->set_backend(model.backend);
    const EngineLoad load = context_.engine.load();
    response->mutable_load()->set_queued(load.queued);
    response->mutable_load()->set_running(load.running);
    response->mutable_load()->set_kv_bytes_total(load.kv_bytes_total);
    response->mutable_load()->set_kv_bytes_used(load.kv_bytes_used);
    if (context_.encoders == nullptr) return;
    response->set_encoder_fingerprint(context_.encoders->fingerprint());
    for (const EncoderTargetInfo& info : context_.encoders->targets()) {
      v1::EncoderTarget* target = response->add_encoders();
      target->set_address(info.address);
      target->set_name(info.name);
      target->set_healthy(info.state == v1::ENCODER_STATE_HEALTHY);
      target->set_state(info.state);
      target->set_reason(info.reason);
      target->set_in_flight(info.in_flight);
    }
  }

  const DecoderContext context_;
};

}  // namespace

NamedService MakeDecoderService(const DecoderContext& context) {
  return {v1::DecoderService::service_full_name(), std::make_shared<DecoderServiceImpl>(context)};
}

}  // namespace softsplice
