// See stream_sink.h.
#include "encoder_svc/audio/stream_sink.h"

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {

absl::Status StreamSink::Begin(int64_t rate, int channels) {
  if (!sink_) {
    ASSIGN_OR_RETURN(sink_, MonoSink::Make(rate, channels, limits_));
    return absl::OkStatus();
  }
  if (rate != sink_->rate()) {
    return InvalidMedia(absl::StrCat("the ", Name(format_), " changes its sample rate on the way"));
  }
  return sink_->SetChannels(channels);
}

absl::StatusOr<std::vector<float>> StreamSink::Finish() {
  if (!sink_) return InvalidMedia(absl::StrCat("the ", Name(format_), " has no samples"));
  return sink_->Finish();
}

}  // namespace softsplice
