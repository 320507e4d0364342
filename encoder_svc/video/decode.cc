// See decode.h.
#include "encoder_svc/video/decode.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/media/sniff.h"
#include "common/media/tracks.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/ffmpeg/process.h"

namespace softsplice {
namespace {

// Frames between a key frame and one that is wanted are decoded as well: some seconds of them at
// most, where cameras and sites made the file, at several times the speed at which they are shown.
constexpr absl::Duration kLeastTime = absl::Seconds(30);
constexpr int kLeastSpeed = 10;

struct KnownMime {
  absl::string_view mime;
  VideoFormat format;
};

constexpr KnownMime kMimes[] = {
    {"video/mp4", VideoFormat::kMp4},       {"video/x-m4v", VideoFormat::kMp4},
    {"video/quicktime", VideoFormat::kMp4}, {"video/3gpp", VideoFormat::kMp4},
    {"video/webm", VideoFormat::kWebm},     {"video/x-matroska", VideoFormat::kWebm},
    {"video/matroska", VideoFormat::kWebm},
};

std::optional<VideoFormat> Sniff(absl::string_view bytes) {
  const NamedFormat* format = FindNamedFormat(bytes);
  if (format == nullptr || format->kind == ContentKind::kPicture) return std::nullopt;
  if (HasMagic(bytes, {0, "\x1a\x45\xdf\xa3"})) return VideoFormat::kWebm;
  return FindTracks(bytes) ? std::optional(VideoFormat::kMp4) : std::nullopt;
}

std::string Unreadable(absl::string_view bytes) {
  const std::string name = LooksLike(bytes);
  if (name.empty()) return "the bytes are not a video in a format that can be read";
  return absl::StrCat("the bytes look like ", name, ", which can't be read as a video");
}

// Takes what FFmpeg says of a video, and believes none of it.
class Listener {
 public:
  Listener(int max_frames, const VideoLimits& limits, const VideoReceiver& receiver)
      : max_frames_(max_frames), limits_(limits), receiver_(receiver) {}

  absl::Status Take(FfmpegMessage kind, absl::string_view bytes) {
    if (kind == FfmpegMessage::kVideo && !begun_) return TakeForm(bytes);
    if (kind == FfmpegMessage::kPixels && begun_) return TakePixels(bytes);
    return Unexpected();
  }

  absl::Status Finish() const { return frames_ == 0 && begun_ ? absl::OkStatus() : Unexpected(); }

 private:
  static absl::Status Unexpected() {
    return absl::InternalError("softsplice-ffmpeg does not keep to its messages");
  }

  absl::Status TakeForm(absl::string_view bytes) {
    VideoForm form{};
    if (bytes.size() < sizeof(form)) return Unexpected();
    std::memcpy(&form, bytes.data(), sizeof(form));
    bytes.remove_prefix(sizeof(form));
    if (form.width == 0 || form.height == 0 || form.frames == 0 ||
        form.frames > static_cast<uint32_t>(max_frames_) || form.duration < 0 ||
        bytes.size() != form.frames * sizeof(int64_t)) {
      return Unexpected();
    }
    const absl::Duration duration = absl::Nanoseconds(form.duration);
    RETURN_IF_ERROR(CheckLimits(form.width, form.height, duration));
    VideoHeader header{.width = static_cast<int>(form.width),
                       .height = static_cast<int>(form.height),
                       .duration = duration,
                       .has_sound = form.has_sound != 0};
    for (; !bytes.empty(); bytes.remove_prefix(sizeof(int64_t))) {
      int64_t time = 0;
      std::memcpy(&time, bytes.data(), sizeof(time));
      header.times.push_back(absl::Nanoseconds(time));
    }
    if (header.times.front() < absl::ZeroDuration() ||
        !std::is_sorted(header.times.begin(), header.times.end())) {
      return Unexpected();
    }
    begun_ = true;
    frames_ = form.frames;
    width_ = header.width;
    height_ = header.height;
    return receiver_.on_header(header);
  }

  absl::Status CheckLimits(uint64_t width, uint64_t height, absl::Duration duration) const {
    if (width * height > limits_.max_pixels) {
      return OverLimit("data",
                       absl::StrCat("the video has ", width, "x", height, " pixels; at most ",
                                    limits_.max_pixels, " are allowed"));
    }
    if (duration <= limits_.max_duration) return absl::OkStatus();
    return OverLimit(
        "data",
        absl::StrCat("the video is longer than allowed: ", absl::FormatDuration(duration),
                     "; at most ", absl::FormatDuration(limits_.max_duration), " is allowed"));
  }

  absl::Status TakePixels(absl::string_view bytes) {
    while (!bytes.empty()) {
      if (frames_ == 0) return Unexpected();
      if (filled_ == 0) frame_ = Picture(width_, height_);
      const size_t count = std::min(bytes.size(), frame_.rgb.size() - filled_);
      std::memcpy(&frame_.rgb[filled_], bytes.data(), count);
      bytes.remove_prefix(count);
      filled_ += count;
      if (filled_ < frame_.rgb.size()) break;
      filled_ = 0;
      --frames_;
      RETURN_IF_ERROR(receiver_.on_frame(std::move(frame_)));
    }
    return absl::OkStatus();
  }

  const int max_frames_;
  const VideoLimits& limits_;
  const VideoReceiver& receiver_;
  bool begun_ = false;
  uint32_t frames_ = 0;  // still to come
  int width_ = 0;
  int height_ = 0;
  Picture frame_;
  size_t filled_ = 0;  // bytes of it
};

}  // namespace

absl::string_view Name(VideoFormat format) { return format == VideoFormat::kMp4 ? "MP4" : "WebM"; }

absl::StatusOr<VideoFormat> FindVideoFormat(absl::string_view bytes, absl::string_view mime_type,
                                            const VideoLimits& limits) {
  if (bytes.empty()) return InvalidMedia("the video is empty (0 bytes)");
  if (bytes.size() > limits.max_bytes) {
    return OverLimit("data", absl::StrCat("the video has ", bytes.size(), " bytes; at most ",
                                          limits.max_bytes, " are allowed"));
  }
  const std::optional<VideoFormat> found = Sniff(bytes);
  if (!found) {
    return InvalidMedia(
        absl::StrCat(Unreadable(bytes), "; MP4, MOV, WebM and Matroska are supported"));
  }
  const std::string mime = MimeEssence(mime_type);
  bool contradicts = absl::StartsWith(mime, "image/") || absl::StartsWith(mime, "audio/");
  for (const KnownMime& known : kMimes) {
    contradicts = contradicts || (known.mime == mime && known.format != *found);
  }
  if (contradicts) {
    return InvalidField(
        "mime_type", absl::StrCat("mime type ", mime,
                                  " contradicts the bytes, which are a video in ", Name(*found)));
  }
  RETURN_IF_ERROR(CheckFfmpeg(limits.ffmpeg, Name(*found)));
  return *found;
}

absl::Status DecodeVideo(absl::string_view bytes, VideoFormat format, int max_frames,
                         const VideoLimits& limits, const VideoReceiver& receiver) {
  if (IsCutOff(bytes)) return InvalidMedia(absl::StrCat("the ", Name(format), " is truncated"));
  Listener listener(max_frames, limits, receiver);
  RETURN_IF_ERROR(RunFfmpeg({.program = limits.ffmpeg,
                             .arguments = {"video", format == VideoFormat::kMp4 ? "mp4" : "webm",
                                           absl::StrCat(max_frames)},
                             .format = std::string(Name(format)),
                             .file = bytes,
                             .heap_bytes = limits.heap_bytes,
                             .most_time = kLeastTime + limits.max_duration / kLeastSpeed,
                             .go_on = limits.go_on,
                             .on_message = [&](FfmpegMessage kind, absl::string_view message) {
                               return listener.Take(kind, message);
                             }}));
  return listener.Finish();
}

}  // namespace softsplice
