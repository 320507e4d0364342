#include "encoder_svc/server/encode_audio.h"

#include <functional>
#include <utility>
#include <vector>

#include "common/server/duration.h"
#include "encoder_svc/server/encode_call.h"

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

class EncodeAudioCall final : public EncodeCall<v1::EncodeAudioResponse> {
 public:
  using EncodeCall::EncodeCall;

  void Start(const v1::EncodeAudioRequest& request, Encoder& encoder) {
    const absl::Status status = CheckType();
    if (!status.ok()) return EndEncoding(status, {});
    NoteMediaBytes(request.data().size());
    AudioJob job{.data = request.data(),
                 .mime_type = request.mime_type(),
                 .header_only = request.header_only(),
                 .deadline = call().deadline(),
                 .cancel = cancel()};
    encoder.EncodeAudio(
        std::move(job),
        {.layout =
             [this](const AudioLayout& layout) {
               SendHeader(Header(layout), layout.rows, layout.dim, layout.content_digest);
             },
         .rows = [this](
                     std::vector<float> values,
                     std::function<void()> next) { SendRows(std::move(values), std::move(next)); },
         .done = [this](const absl::Status& end,
                        const EncodeTimings& timings) { EndEncoding(end, timings); }});
  }
};

}  // namespace

grpc::ServerWriteReactor<v1::EncodeAudioResponse>* StartEncodeAudio(
    grpc::CallbackServerContext* context, const v1::EncodeAudioRequest& request, Encoder& encoder,
    const Logger& logger) {
  auto* call = new EncodeAudioCall(Call(context, logger, "EncoderService", "EncodeAudio"),
                                   request.data_type(), encoder.info().fingerprint);
  call->Start(request, encoder);
  return call;
}

}  // namespace softsplice
