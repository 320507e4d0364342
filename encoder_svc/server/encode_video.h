// The method EncodeVideo.
#pragma once

#include "encoder_svc/server/encode_recording.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

class EncodeVideoCall final
    : public EncodeRecordingCall<v1::EncodeVideoRequest, v1::EncodeVideoResponse> {
 public:
  EncodeVideoCall(Call call, const Calls& calls, const EncoderContext& context)
      : EncodeRecordingCall(std::move(call), calls, context, context.metrics.videos) {}

 private:
  void Encode(const v1::EncodeVideoRequest& request) override;
};

}  // namespace softsplice
