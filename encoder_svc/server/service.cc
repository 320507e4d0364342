#include "encoder_svc/server/service.h"

#include <memory>
#include <string>
#include <utility>

#include "common/server/call_service.h"
#include "common/server/device_info.h"
#include "common/server/duration.h"
#include "common/text/utf8.h"
#include "encoder_svc/server/encode_audio.h"
#include "encoder_svc/server/encode_image.h"
#include "encoder_svc/server/encode_video.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {
namespace {

class GetInfoCall final : public AnswerCall<v1::GetEncoderInfoRequest, v1::GetEncoderInfoResponse> {
 public:
  GetInfoCall(Call call, const Calls& calls, const EncoderContext& context)
      : AnswerCall(std::move(call), calls, CallWeight::kLight), context_(context) {}

 private:
  void Begin(const v1::GetEncoderInfoRequest& /*request*/) override {
    const EncoderInfo& info = context_.encoder.info();
    v1::GetEncoderInfoResponse response;
    response.set_version(SOFTSPLICE_VERSION);
    response.set_model_name(ToUtf8(info.model_name));
    response.set_encoder_fingerprint(std::string(info.fingerprint.begin(), info.fingerprint.end()));
    response.set_dim(info.dim);
    response.set_has_image_tower(info.has_image_tower);
    response.set_has_audio_tower(info.has_audio_tower);
    response.set_backend(info.backend);
    v1::EncoderLimits* limits = response.mutable_limits();
    limits->set_max_media_bytes(context_.options.max_media_bytes);
    limits->set_max_image_pixels(context_.options.max_image_pixels);
    SetDuration(context_.options.max_audio_duration, limits->mutable_max_audio_duration());
    if (!context_.options.ffmpeg.empty()) {
      SetDuration(context_.options.max_video_duration, limits->mutable_max_video_duration());
    }
    limits->set_max_queue(context_.options.max_queue);
    limits->set_cache_bytes(context_.options.cache_bytes);
    const EncoderLoadFigures load = context_.encoder.load();
    v1::EncoderLoad* out = response.mutable_load();
    out->set_queued(load.queued);
    out->set_encoding(load.encoding);
    out->set_decoding(load.decoding);
    out->set_parked(load.parked);
    out->set_cache_bytes(load.cache_bytes);
    out->set_cache_hits(load.cache_hits);
    out->set_cache_misses(load.cache_misses);
    SetDuration(load.expected_wait, out->mutable_expected_wait());
    if (context_.devices != nullptr) FillDevices(context_.devices->last(), &response);
    Answer(std::move(response));
  }

  const EncoderContext& context_;
};

class EncoderServiceImpl final : public CallService {
 public:
  explicit EncoderServiceImpl(const EncoderContext& context)
      : CallService(&EncoderServiceDescriptor(), context.calls) {
    Serve<EncodeImageCall>("EncodeImage", context);
    Serve<EncodeAudioCall>("EncodeAudio", context);
    Serve<EncodeVideoCall>("EncodeVideo", context);
    Serve<GetInfoCall>("GetEncoderInfo", context);
  }
};

}  // namespace

const google::protobuf::ServiceDescriptor& EncoderServiceDescriptor() {
  return *v1::EncodeImageRequest::descriptor()->file()->service(0);
}

NamedService MakeEncoderService(const EncoderContext& context) {
  return {v1::EncoderService::service_full_name(), std::make_shared<EncoderServiceImpl>(context)};
}

}  // namespace softsplice
