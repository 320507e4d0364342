#include "encoder_svc/server/encode_audio.h"

#include <utility>

#include "encoder_svc/server/layout.h"

namespace softsplice {
namespace {

v1::SoftTokensHeader Header(const RecordingLayout& layout) {
  v1::SoftTokensHeader header;
  header.set_modality(v1::MODALITY_AUDIO);
  FillSegments(layout.segments, header.mutable_audio()->mutable_segments());
  return header;
}

}  // namespace

void EncodeAudioCall::Encode(const v1::EncodeAudioRequest& request) {
  AudioJob job{.data = std::move(*mutable_request().mutable_data()),
               .mime_type = request.mime_type(),
               .header_only = request.header_only(),
               .deadline = call().deadline(),
               .cancel = cancel()};
  encoder().EncodeAudio(std::move(job), Receiver(&Header));
}

}  // namespace softsplice
