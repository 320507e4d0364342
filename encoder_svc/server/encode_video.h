// The method EncodeVideo.
#pragma once

#include "encoder_svc/server/encode_call.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

class EncodeVideoCall final : public EncodeCall<v1::EncodeVideoRequest, v1::EncodeVideoResponse> {
 public:
  EncodeVideoCall(Call call, const Calls& calls, const EncoderContext& context)
      : EncodeCall(std::move(call), calls, context, context.metrics.videos) {}

 private:
  void Encode(const v1::EncodeVideoRequest& request) override;
};

}  // namespace softsplice
