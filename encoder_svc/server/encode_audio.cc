#include "encoder_svc/server/encode_audio.h"

#include <functional>
#include <utility>
#include <vector>

#include "common/server/duration.h"

namespace softsplice {
namespace {

v1::SoftTokensHeader Header(const AudioLayout& layout) {
  v1::SoftTokensHeader header;
  header.set_modality(v1::MODALITY_AUDIO);
  for (const AudioSegment& segment : layout.segments) {
    v1::AudioSegment* out = header.mutable_audio()->add_segments();
    out->set_first_row(segment.first_row);
    out->set_rows(segment.rows);
    SetDuration(segment.start, out->mutable_start());
    SetDuration(segment.duration, out->mutable_duration());
  }
  return header;
}

}  // namespace

void EncodeAudioCall::Encode(const v1::EncodeAudioRequest& request) {
  auto self = std::static_pointer_cast<EncodeAudioCall>(shared_from_this());
  AudioJob job{.data = std::move(*mutable_request().mutable_data()),
               .mime_type = request.mime_type(),
               .header_only = request.header_only(),
               .deadline = call().deadline(),
               .cancel = cancel()};
  encoder().EncodeAudio(
      std::move(job),
      {.layout =
           [self](const AudioLayout& layout) {
             self->Guard([&] {
               self->SendHeader(Header(layout), layout.rows, layout.dim, layout.content_digest);
             });
           },
       .rows =
           [self](Values values, std::function<void()> next) {
             self->Guard([&] { self->SendRows(std::move(values), std::move(next)); });
           },
       .done = [self](const absl::Status& end,
                      const EncodeTimings& timings) { self->EndEncoding(end, timings); }});
}

}  // namespace softsplice
