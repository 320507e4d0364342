// Any bytes as a video in MP4 and in WebM, as softsplice-ffmpeg reads them, but without its fence:
// what comes out keeps to messages.h.
//
//   video_fuzz CORPUS tests/data/video
extern "C" {
#include <libavutil/log.h>
#include <libavutil/mem.h>
}

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "encoder_svc/ffmpeg/video.h"

namespace softsplice {
namespace {

constexpr int kFrames = 4;
// Small, so that a run spends its time on the formats and not on pixels.
constexpr uint64_t kMostPixels = 200'000;

class Checker {
 public:
  bool Take(FfmpegMessage kind, absl::string_view bytes) {
    if (ended_ || bytes.size() > kMostFfmpegMessageBytes) std::abort();
    if (kind == FfmpegMessage::kVideo) return TakeForm(bytes);
    if (kind == FfmpegMessage::kPixels) {
      if (bytes.empty() || bytes.size() > to_come_) std::abort();
      to_come_ -= bytes.size();
      return true;
    }
    ended_ = true;
    if (kind == FfmpegMessage::kEnd && to_come_ != 0 && !refused_) std::abort();
    return true;
  }
  bool ended() const { return ended_; }

 private:
  bool TakeForm(absl::string_view bytes) {
    VideoForm form{};
    if (bytes.size() < sizeof(form) || to_come_ != 0) std::abort();
    std::memcpy(&form, bytes.data(), sizeof(form));
    bytes.remove_prefix(sizeof(form));
    if (form.frames == 0 || form.frames > kFrames || form.duration < 0) std::abort();
    if (form.width == 0 || form.height == 0) std::abort();
    if (bytes.size() != form.frames * sizeof(int64_t)) std::abort();
    int64_t last = 0;
    for (uint32_t i = 0; i < form.frames; ++i) {
      int64_t time = 0;
      std::memcpy(&time, bytes.data() + i * sizeof(time), sizeof(time));
      if (time < last) std::abort();
      last = time;
    }
    const uint64_t pixels = uint64_t{form.width} * form.height;
    to_come_ = 3 * pixels * form.frames;
    refused_ = pixels > kMostPixels;
    return !refused_;
  }

  uint64_t to_come_ = 0;  // bytes of pixels
  bool refused_ = false;
  bool ended_ = false;
};

}  // namespace
}  // namespace softsplice

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  av_log_set_level(AV_LOG_QUIET);
  av_max_alloc(softsplice::kFfmpegVideoHeapBytes);
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char* format : {"mp4", "webm"}) {
    softsplice::Checker checker;
    softsplice::DecodeFfmpegVideo(bytes, {.format = format, .frames = softsplice::kFrames},
                                  [&](softsplice::FfmpegMessage kind, absl::string_view message) {
                                    return checker.Take(kind, message);
                                  });
    if (!checker.ended()) std::abort();
  }
  return 0;
}
