// See ffmpeg.h.
#include "encoder_svc/audio/ffmpeg.h"

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/audio/stream_sink.h"
#include "encoder_svc/ffmpeg/process.h"

namespace softsplice {
namespace {

// Of what headers say of the length, which count an encoder's padding, too.
constexpr absl::Duration kSlack = absl::Seconds(1);
// Decoders are some hundred times as fast as what they decode lasts.
constexpr int kLeastSpeed = 20;
constexpr absl::Duration kLeastTime = absl::Seconds(10);

// Takes what FFmpeg says of a sound.
class Listener {
 public:
  Listener(SoundFormat format, const SoundLimits& limits)
      : format_(format), limits_(limits), sink_(format, limits) {}

  absl::Status Take(FfmpegMessage kind, absl::string_view bytes) {
    switch (kind) {
      case FfmpegMessage::kLength:
        return TakeLength(bytes);
      case FfmpegMessage::kSamples:
        return TakeSamples(bytes);
      default:
        return Unexpected();
    }
  }

  absl::StatusOr<std::vector<float>> Finish() {
    const absl::Duration there =
        sink_.begun() ? absl::Seconds(static_cast<double>(sink_.added()) / form_.rate)
                      : absl::ZeroDuration();
    if (sink_.begun() && there + kSlack < length_) {
      return InvalidMedia(absl::StrFormat("the %s is truncated: it has %.1f of %.1f s",
                                          Name(format_), absl::ToDoubleSeconds(there),
                                          absl::ToDoubleSeconds(length_)));
    }
    return sink_.Finish();
  }

 private:
  static absl::Status Unexpected() {
    return absl::InternalError("softsplice-ffmpeg does not keep to its messages");
  }

  absl::Status TakeLength(absl::string_view bytes) {
    int64_t length = 0;
    if (bytes.size() != sizeof(length)) return Unexpected();
    std::memcpy(&length, bytes.data(), sizeof(length));
    length_ = absl::Microseconds(length);
    if (length_ <= limits_.max_duration + kSlack) return absl::OkStatus();
    return OverLimit(
        "data", absl::StrCat("the sound is longer than allowed: ", absl::FormatDuration(length_),
                             " as it says; at most ", absl::FormatDuration(limits_.max_duration),
                             " is allowed"));
  }

  absl::Status TakeSamples(absl::string_view bytes) {
    if (bytes.size() < sizeof(form_)) return Unexpected();
    std::memcpy(&form_, bytes.data(), sizeof(form_));
    bytes.remove_prefix(sizeof(form_));
    RETURN_IF_ERROR(sink_.Begin(form_.rate, static_cast<int>(form_.channels)));
    if (bytes.size() % (sizeof(float) * form_.channels) != 0) return Unexpected();
    samples_.resize(bytes.size() / sizeof(float));
    std::memcpy(samples_.data(), bytes.data(), bytes.size());
    return sink_.Add(samples_);
  }

  const SoundFormat format_;
  const SoundLimits& limits_;
  StreamSink sink_;
  SampleForm form_{};
  absl::Duration length_ = absl::ZeroDuration();
  std::vector<float> samples_;
};

const char* FormatArgument(SoundFormat format) {
  return format == SoundFormat::kMp4 ? "mp4" : format == SoundFormat::kWebm ? "webm" : "aac";
}

}  // namespace

absl::StatusOr<std::vector<float>> DecodeWithFfmpeg(absl::string_view bytes, const SoundType& type,
                                                    const SoundLimits& limits) {
  RETURN_IF_ERROR(CheckFfmpeg(limits.ffmpeg, Name(type.format)));
  Listener listener(type.format, limits);
  FfmpegRun run{.program = limits.ffmpeg,
                .arguments = {"sound", FormatArgument(type.format)},
                .format = std::string(Name(type.format)),
                .file = bytes,
                .most_time = kLeastTime + limits.max_duration / kLeastSpeed,
                .go_on = limits.go_on,
                .on_message = [&](FfmpegMessage kind, absl::string_view message) {
                  return listener.Take(kind, message);
                }};
  if (type.sound_alone) run.arguments.emplace_back("alone");
  RETURN_IF_ERROR(RunFfmpeg(run));
  return listener.Finish();
}

}  // namespace softsplice
