// The method EncodeAudio.
#pragma once

#include "encoder_svc/server/encode_call.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

class EncodeAudioCall final : public EncodeCall<v1::EncodeAudioRequest, v1::EncodeAudioResponse> {
 public:
  using EncodeCall::EncodeCall;

 private:
  void Encode(const v1::EncodeAudioRequest& request) override;
};

}  // namespace softsplice
