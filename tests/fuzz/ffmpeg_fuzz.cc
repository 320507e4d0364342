// Any bytes as an MP4, a WebM and an AAC, as softsplice-ffmpeg reads them, but without its fence:
// what comes out keeps to messages.h.
//
//   ffmpeg_fuzz CORPUS tests/data/audio
extern "C" {
#include <libavutil/log.h>
#include <libavutil/mem.h>
}

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "encoder_svc/ffmpeg/sound.h"

namespace softsplice {
namespace {

// Values, so that a run spends its time on the formats and not on samples.
constexpr size_t kMostValues = 200'000;

class Checker {
 public:
  bool Take(FfmpegMessage kind, absl::string_view bytes) {
    if (ended_ || bytes.size() > kMostFfmpegMessageBytes) std::abort();
    if (kind == FfmpegMessage::kSamples) {
      SampleForm form{};
      if (bytes.size() < sizeof(form)) std::abort();
      std::memcpy(&form, bytes.data(), sizeof(form));
      const size_t values = bytes.size() - sizeof(form);
      if (form.channels == 0 || values % (sizeof(float) * form.channels) != 0) std::abort();
      values_ += values / sizeof(float);
    } else {
      ended_ = kind != FfmpegMessage::kLength;
    }
    return values_ < kMostValues;
  }
  bool ended() const { return ended_; }

 private:
  size_t values_ = 0;
  bool ended_ = false;
};

}  // namespace
}  // namespace softsplice

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  av_log_set_level(AV_LOG_QUIET);
  av_max_alloc(softsplice::kFfmpegHeapBytes);
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char* format : {"mp4", "webm", "aac"}) {
    softsplice::Checker checker;
    softsplice::DecodeFfmpegSound(bytes, {.format = format, .sound_alone = true},
                                  [&](softsplice::FfmpegMessage kind, absl::string_view message) {
                                    return checker.Take(kind, message);
                                  });
    if (!checker.ended()) std::abort();
  }
  return 0;
}
