// The method EncodeAudio.
#pragma once

#include "encoder_svc/server/encode_call.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

class EncodeAudioCall final : public EncodeCall<v1::EncodeAudioRequest, v1::EncodeAudioResponse> {
 public:
  EncodeAudioCall(Call call, const Calls& calls, const EncoderContext& context)
      : EncodeCall(std::move(call), calls, context, context.metrics.sounds) {}

 private:
  void Encode(const v1::EncodeAudioRequest& request) override;
};

}  // namespace softsplice
