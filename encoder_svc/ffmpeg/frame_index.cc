// See frame_index.h.
#include "encoder_svc/ffmpeg/frame_index.h"

extern "C" {
#include <libavutil/mathematics.h>
}

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace softsplice {
namespace {

constexpr size_t kMostFrames = 1 << 20;
// Of what headers say of the length.
constexpr int64_t kSlack = AV_TIME_BASE;
// Where nothing else is known; transformers takes it, too.
constexpr double kUsualRate = 24;

int64_t TimeOfPacket(const AVPacket& packet) {
  return packet.pts == AV_NOPTS_VALUE ? packet.dts : packet.pts;
}

}  // namespace

FfmpegFault FrameIndex::Scan(AVFormatContext& format, const AVStream& stream) {
  time_base_ = stream.time_base;
  stated_rate_ = stream.r_frame_rate;
  const FfmpegPacket packet(av_packet_alloc());
  if (packet == nullptr) return "";
  int error = 0;
  FfmpegFault fault;
  while (!fault && (error = av_read_frame(&format, packet.get())) >= 0) {
    const AVRational base = format.streams[packet->stream_index]->time_base;
    const int64_t time = TimeOfPacket(*packet);
    if (time != AV_NOPTS_VALUE) {
      const int64_t end = av_sat_add64(time, packet->duration);
      end_of_all_ = std::max(end_of_all_, av_rescale_q(end, base, AV_TIME_BASE_Q));
    }
    if (packet->stream_index == stream.index) fault = Add(*packet);
    av_packet_unref(packet.get());
  }
  if (fault) return fault;
  if (error != AVERROR_EOF) return FfmpegCorrupt(error);
  std::stable_sort(frames_.begin(), frames_.end(),
                   [](const Frame& a, const Frame& b) { return a.time < b.time; });
  return CheckEnd(format, stream);
}

FfmpegFault FrameIndex::Add(const AVPacket& packet) {
  ++packets_;
  if ((packet.flags & AV_PKT_FLAG_CORRUPT) != 0) return "is truncated";
  if ((packet.flags & AV_PKT_FLAG_DISCARD) != 0) return std::nullopt;
  const int64_t time = TimeOfPacket(packet);
  if (time == AV_NOPTS_VALUE) return "has frames without a time";
  if (frames_.size() == kMostFrames) {
    return absl::StrCat("has more than ", kMostFrames, " frames, which can't be read");
  }
  begin_ = std::min(begin_, time);
  end_ = std::max(end_, av_sat_add64(time, packet.duration));
  frames_.push_back({time, (packet.flags & AV_PKT_FLAG_KEY) != 0});
  return std::nullopt;
}

// MP4 has a list of its frames; Matroska's header tells the length of all.
FfmpegFault FrameIndex::CheckEnd(const AVFormatContext& format, const AVStream& stream) const {
  const bool lists_all = absl::StrContains(format.iformat->name, "mp4");
  if (const int listed = avformat_index_get_entries_count(&stream);
      lists_all && packets_ < listed) {
    return absl::StrCat("is truncated: it has ", packets_, " of ", listed, " frames");
  }
  if (frames_.empty()) return "has a video of no frames";
  int64_t stated = 0;
  if (stream.duration != AV_NOPTS_VALUE) {
    stated = av_rescale_q(stream.duration, stream.time_base, AV_TIME_BASE_Q);
  } else if (format.duration_estimation_method != AVFMT_DURATION_FROM_BITRATE) {
    stated = format.duration;
  }
  if (end_of_all_ >= av_sat_sub64(stated, kSlack)) return std::nullopt;
  return absl::StrFormat("is truncated: it has %.1f of %.1f s",
                         static_cast<double>(end_of_all_) / AV_TIME_BASE,
                         static_cast<double>(stated) / AV_TIME_BASE);
}

int64_t FrameIndex::KeyFrameAt(int64_t time) const {
  auto frame = std::upper_bound(frames_.begin(), frames_.end(), time,
                                [](int64_t t, const Frame& f) { return t < f.time; });
  while (frame != frames_.begin()) {
    if ((--frame)->key) return frame - frames_.begin();
  }
  return -1;
}

double FrameIndex::Seconds(int64_t time) const {
  return static_cast<double>(time) * time_base_.num / time_base_.den;
}

double FrameIndex::Duration() const { return Seconds(end_) - Seconds(begin_); }

double FrameIndex::Rate() const {
  if (Duration() > 0) return static_cast<double>(size()) / Duration();
  const double stated = av_q2d(stated_rate_);
  return stated > 0 ? stated : kUsualRate;
}

}  // namespace softsplice
