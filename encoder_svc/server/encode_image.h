// The method EncodeImage.
#pragma once

#include "encoder_svc/server/encode_call.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

class EncodeImageCall final : public EncodeCall<v1::EncodeImageRequest, v1::EncodeImageResponse> {
 public:
  EncodeImageCall(Call call, const Calls& calls, const EncoderContext& context)
      : EncodeCall(std::move(call), calls, context, context.metrics.images) {}

 private:
  void Encode(const v1::EncodeImageRequest& request) override;
  void OnImage(absl::StatusOr<EncodedImage> image);
};

}  // namespace softsplice
