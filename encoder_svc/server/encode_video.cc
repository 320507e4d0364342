#include "encoder_svc/server/encode_video.h"

#include <utility>

#include "common/server/duration.h"
#include "encoder_svc/server/layout.h"

namespace softsplice {
namespace {

v1::SoftTokensHeader Header(const RecordingLayout& layout) {
  v1::SoftTokensHeader header;
  header.set_modality(v1::MODALITY_VIDEO);
  v1::VideoLayout* video = header.mutable_video();
  for (const VideoFrame& frame : layout.frames) {
    v1::VideoFrame* out = video->add_frames();
    out->set_first_row(frame.first_row);
    out->set_rows(frame.rows);
    SetDuration(frame.time, out->mutable_time());
  }
  FillSegments(layout.segments, video->mutable_sound());
  FillLayout(layout.frame, video->mutable_frame());
  SetDuration(layout.duration, video->mutable_duration());
  return header;
}

}  // namespace

void EncodeVideoCall::Encode(const v1::EncodeVideoRequest& request) {
  VideoJob job{.data = std::move(*mutable_request().mutable_data()),
               .mime_type = request.mime_type(),
               .max_soft_tokens = ClampToInt(request.max_soft_tokens()),
               .max_frames = ClampToInt(request.max_frames()),
               .without_sound = request.without_sound(),
               .header_only = request.header_only(),
               .deadline = call().deadline(),
               .cancel = cancel()};
  encoder().EncodeVideo(std::move(job), Receiver(&Header));
}

}  // namespace softsplice
