// The method EncodeAudio.
#pragma once

#include "encoder_svc/server/encode_recording.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

class EncodeAudioCall final
    : public EncodeRecordingCall<v1::EncodeAudioRequest, v1::EncodeAudioResponse> {
 public:
  EncodeAudioCall(Call call, const Calls& calls, const EncoderContext& context)
      : EncodeRecordingCall(std::move(call), calls, context, context.metrics.sounds) {}

 private:
  void Encode(const v1::EncodeAudioRequest& request) override;
};

}  // namespace softsplice
