// See video.h.
#include "encoder_svc/ffmpeg/video.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "encoder_svc/ffmpeg/frame_index.h"
#include "encoder_svc/ffmpeg/input.h"
#include "encoder_svc/ffmpeg/pixels.h"

namespace softsplice {
namespace {

// Rounded down, so that no second seems to begin before it does.
int64_t Nanoseconds(double seconds) {
  constexpr double kMost = 1e9, kSecond = 1e9;
  const double bounded = std::clamp(seconds, 0.0, kMost), whole = std::floor(bounded);
  return static_cast<int64_t>(whole) * static_cast<int64_t>(kSecond) +
         static_cast<int64_t>((bounded - whole) * kSecond);
}

template <class T>
void Append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// One file on its way.
class VideoReader {
 public:
  VideoReader(absl::string_view file, const FfmpegVideoTask& task, const FfmpegWriter& write)
      : task_(task),
        write_(write),
        // What lies beside the pictures is looked into as well: it says how long all is.
        input_(file, DemuxerOf(task.format),
               absl::StrCat(DecoderNames(VideoDecoders()), ",", DecoderNames(SoundDecoders()))),
        pixels_(write) {}

  FfmpegFault Run() {
    if (const int error = input_.Open(); error < 0) return FfmpegCorrupt(error);
    if (const int error = input_.FindStreamInfo(); error < 0) return FfmpegCorrupt(error);
    if (FfmpegFault fault = OpenStream()) return fault;
    if (FfmpegFault fault = index_.Scan(*format(), *stream_)) return fault;
    for (unsigned i = 0; i < format()->nb_streams; ++i) {
      if (format()->streams[i] != stream_) format()->streams[i]->discard = AVDISCARD_ALL;
    }
    const int64_t frames = std::min<int64_t>(task_.frames, index_.size());
    WriteForm(frames);
    for (int64_t i = 0; wanted_ && i < frames; ++i) {
      if (FfmpegFault fault = WriteFrame(NumberOf(i, frames))) return fault;
    }
    return std::nullopt;
  }

 private:
  AVFormatContext* format() const { return input_.format(); }

  // Of the `i`th of `frames` that are wanted.
  int64_t NumberOf(int64_t i, int64_t frames) const { return i * index_.size() / frames; }

  FfmpegFault OpenStream() {
    const AVCodec* any = nullptr;
    const int number = av_find_best_stream(format(), AVMEDIA_TYPE_VIDEO, -1, -1, &any, 0);
    if (number == AVERROR_STREAM_NOT_FOUND) return "has no video in it";
    if (number < 0) return "has a video whose coding can't be read";
    stream_ = format()->streams[number];
    // The picture of a record.
    if ((stream_->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0) return "has no video in it";
    if (FfmpegFault fault = OpenCodec(*stream_, VideoDecoders(), codec_)) return fault;
    if (stream_->codecpar->width < 1 || stream_->codecpar->height < 1) {
      return "is truncated or corrupt: its pictures have no size";
    }
    quarter_turns_ = QuarterTurns(*stream_);
    packet_.reset(av_packet_alloc());
    frame_.reset(av_frame_alloc());
    return packet_ == nullptr || frame_ == nullptr ? FfmpegFault("") : std::nullopt;
  }

  void WriteForm(int64_t frames) {
    const AVCodecParameters& picture = *stream_->codecpar;
    const bool swaps = quarter_turns_ % 2 == 1;
    const int sound = av_find_best_stream(format(), AVMEDIA_TYPE_AUDIO, -1, -1, nullptr, 0);
    std::string message;
    Append(message, VideoForm{
                        .width = static_cast<uint32_t>(swaps ? picture.height : picture.width),
                        .height = static_cast<uint32_t>(swaps ? picture.width : picture.height),
                        .has_sound = sound >= 0,
                        .frames = static_cast<uint32_t>(frames),
                        .duration = Nanoseconds(index_.Duration()),
                    });
    for (int64_t i = 0; i < frames; ++i) {
      Append(message, Nanoseconds(static_cast<double>(NumberOf(i, frames)) / index_.Rate()));
    }
    wanted_ = write_(FfmpegMessage::kVideo, message);
  }

  FfmpegFault WriteFrame(int64_t number) {
    // One behind another is what comes next, whatever its time says.
    if (number != last_number_ + 1) {
      time_ = index_.TimeOf(number);
      if (FfmpegFault fault = MaybeSeek()) return fault;
    }
    last_number_ = number;
    if (FfmpegFault fault = DecodeFrame()) return fault;
    if (frame_->width != stream_->codecpar->width || frame_->height != stream_->codecpar->height) {
      return "has pictures of more than one size, which can't be read";
    }
    return pixels_.Write(*frame_, quarter_turns_, wanted_);
  }

  // To the key frame before `time_`, unless decoding on comes by it soon enough.
  FfmpegFault MaybeSeek() {
    const int64_t key = index_.KeyFrameAt(time_);
    if (shown_ != AV_NOPTS_VALUE && time_ > shown_ && key >= 0) {
      const bool behind = key == index_.KeyFrameAt(shown_);
      if (behind || key - last_number_ <= std::max(codec_->has_b_frames, 0)) return std::nullopt;
    }
    const int64_t to = key >= 0 ? index_.TimeOf(key) : time_;
    const int error = avformat_seek_file(format(), stream_->index, INT64_MIN, to, to, 0);
    if (error < 0) return FfmpegCorrupt(error);
    avcodec_flush_buffers(codec_.get());
    return std::nullopt;
  }

  // The first frame from `time_` on.
  FfmpegFault DecodeFrame() {
    for (;;) {
      const int error = avcodec_receive_frame(codec_.get(), frame_.get());
      if (error == AVERROR_EOF) return "is truncated or corrupt: its last frames are missing";
      if (error == AVERROR(EAGAIN)) {
        if (FfmpegFault fault = ReadPacket()) return fault;
        continue;
      }
      if (error < 0) return FfmpegCorrupt(error);
      shown_ = frame_->pts == AV_NOPTS_VALUE ? frame_->pkt_dts : frame_->pts;
      if (shown_ >= time_) return std::nullopt;
    }
  }

  // The stream's next packet, or its end, to the decoder.
  FfmpegFault ReadPacket() {
    int error = 0;
    do {
      av_packet_unref(packet_.get());
      error = av_read_frame(format(), packet_.get());
    } while (error >= 0 && packet_->stream_index != stream_->index);
    const bool over = error == AVERROR_EOF;
    if (error < 0 && !over) return FfmpegCorrupt(error);
    error = avcodec_send_packet(codec_.get(), over ? nullptr : packet_.get());
    return error < 0 ? FfmpegCorrupt(error) : std::nullopt;
  }

  const FfmpegVideoTask& task_;
  const FfmpegWriter& write_;
  FfmpegInput input_;
  AVStream* stream_ = nullptr;
  int quarter_turns_ = 0;
  FrameIndex index_;
  FfmpegCodec codec_;
  FfmpegPacket packet_;
  FfmpegFrame frame_;
  PixelWriter pixels_;
  int64_t last_number_ = -2;        // of the frame that was written last
  int64_t shown_ = AV_NOPTS_VALUE;  // when the frame that was decoded last is
  int64_t time_ = INT64_MIN;        // of the frame that is looked for
  bool wanted_ = true;
};

}  // namespace

void DecodeFfmpegVideo(absl::string_view file, const FfmpegVideoTask& task,
                       const FfmpegWriter& write) {
  WriteEnd(VideoReader(file, task, write).Run(), write);
}

}  // namespace softsplice
