#include "encoder_svc/server/service.h"

#include <memory>
#include <string>

#include "common/server/duration.h"
#include "encoder_svc/server/encode_audio.h"
#include "encoder_svc/server/encode_image.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {
namespace {

class EncoderServiceImpl final : public v1::EncoderService::CallbackService {
 public:
  EncoderServiceImpl(Encoder& encoder, const EncoderOptions& options, const Logger& logger)
      : encoder_(encoder), options_(options), logger_(logger) {}

  grpc::ServerWriteReactor<v1::EncodeImageResponse>* EncodeImage(
      grpc::CallbackServerContext* context, const v1::EncodeImageRequest* request) override {
    return StartEncodeImage(context, *request, encoder_, logger_);
  }

  grpc::ServerWriteReactor<v1::EncodeAudioResponse>* EncodeAudio(
      grpc::CallbackServerContext* context, const v1::EncodeAudioRequest* request) override {
    return StartEncodeAudio(context, *request, encoder_, logger_);
  }

  grpc::ServerUnaryReactor* GetEncoderInfo(grpc::CallbackServerContext* context,
                                           const v1::GetEncoderInfoRequest* /*request*/,
                                           v1::GetEncoderInfoResponse* response) override {
    const EncoderInfo& info = encoder_.info();
    response->set_version(SOFTSPLICE_VERSION);
    response->set_model_name(info.model_name);
    response->set_encoder_fingerprint(
        std::string(info.fingerprint.begin(), info.fingerprint.end()));
    response->set_dim(info.dim);
    response->set_has_image_tower(info.has_image_tower);
    response->set_has_audio_tower(info.has_audio_tower);
    response->set_backend(info.backend);
    v1::EncoderLimits* limits = response->mutable_limits();
    limits->set_max_media_bytes(options_.max_media_bytes);
    limits->set_max_image_pixels(options_.max_image_pixels);
    SetDuration(options_.max_audio_duration, limits->mutable_max_audio_duration());
    limits->set_max_queue(options_.max_queue);
    const EncoderLoadFigures load = encoder_.load();
    v1::EncoderLoad* out = response->mutable_load();
    out->set_queued(load.queued);
    out->set_encoding(load.encoding);
    out->set_decoding(load.decoding);
    out->set_parked(load.parked);
    SetDuration(load.expected_wait, out->mutable_expected_wait());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  Encoder& encoder_;
  const EncoderOptions options_;
  const Logger& logger_;
};

}  // namespace

NamedService MakeEncoderService(Encoder& encoder, const EncoderOptions& options,
                                const Logger& logger) {
  return {v1::EncoderService::service_full_name(),
          std::make_shared<EncoderServiceImpl>(encoder, options, logger)};
}

}  // namespace softsplice
