// See sound.h.
#include "encoder_svc/ffmpeg/sound.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "encoder_svc/ffmpeg/input.h"

namespace softsplice {
namespace {

constexpr int kMostChannels = 64;
constexpr size_t kMostValues = 65536;  // of a message

// Sample `i` of a plane.
float SampleAt(const uint8_t* plane, AVSampleFormat format, size_t i) {
  switch (format) {
    case AV_SAMPLE_FMT_S16P:
      return static_cast<float>(reinterpret_cast<const int16_t*>(plane)[i]) / 32768;
    case AV_SAMPLE_FMT_S32P:
      return static_cast<float>(reinterpret_cast<const int32_t*>(plane)[i]) / 2147483648.f;
    default:
      return reinterpret_cast<const float*>(plane)[i];
  }
}

// One file on its way.
class SoundReader {
 public:
  SoundReader(absl::string_view file, const FfmpegSoundTask& task, const FfmpegWriter& write)
      : task_(task),
        write_(write),
        input_(file, DemuxerOf(task.format), DecoderNames(SoundDecoders())) {}

  FfmpegFault Run() {
    if (const int error = input_.Open(); error < 0) return FfmpegCorrupt(error);
    if (FfmpegFault fault = CheckVideo()) return fault;
    if (const int error = input_.FindStreamInfo(); error < 0) return FfmpegCorrupt(error);
    if (FfmpegFault fault = OpenStream()) return fault;
    TellLength();
    return ReadPackets();
  }

 private:
  AVFormatContext* format() const { return input_.format(); }

  // Nothing but sounds is looked at any further.
  FfmpegFault CheckVideo() {
    for (unsigned i = 0; i < format()->nb_streams; ++i) {
      AVStream* stream = format()->streams[i];
      const AVMediaType type = stream->codecpar->codec_type;
      const bool cover = (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
      if (type == AVMEDIA_TYPE_VIDEO && !cover && !task_.sound_alone) {
        return "holds a video; with a mime type of audio/... its sound alone is read";
      }
      if (type != AVMEDIA_TYPE_AUDIO) stream->discard = AVDISCARD_ALL;
    }
    return std::nullopt;
  }

  FfmpegFault OpenStream() {
    const int index = av_find_best_stream(format(), AVMEDIA_TYPE_AUDIO, -1, -1, nullptr, 0);
    if (index < 0) return "has no sound in it";
    stream_ = format()->streams[index];
    packet_.reset(av_packet_alloc());
    frame_.reset(av_frame_alloc());
    if (packet_ == nullptr || frame_ == nullptr) return "";
    return OpenCodec(*stream_, SoundDecoders(), codec_);
  }

  // Where the file says it; a length that FFmpeg guesses from the bit rate is none.
  void TellLength() {
    int64_t length = AV_NOPTS_VALUE;
    if (format()->duration_estimation_method == AVFMT_DURATION_FROM_BITRATE) return;
    if (stream_->duration != AV_NOPTS_VALUE) {
      length = av_rescale_q(stream_->duration, stream_->time_base, AV_TIME_BASE_Q);
    } else if (format()->nb_streams == 1) {
      length = format()->duration;
    }
    if (length <= 0) return;
    char bytes[sizeof(length)];
    std::memcpy(bytes, &length, sizeof(length));
    wanted_ = write_(FfmpegMessage::kLength, {bytes, sizeof(bytes)});
  }

  FfmpegFault ReadPackets() {
    int error = 0;
    FfmpegFault fault;
    while (wanted_ && (error = av_read_frame(format(), packet_.get())) >= 0) {
      if (fault) return fault;
      const bool ours = packet_->stream_index == stream_->index;
      if (ours) fault = Decode(packet_.get());
      av_packet_unref(packet_.get());
    }
    const bool tells_its_end = task_.format != "aac";
    if (fault && tells_its_end) return fault;
    if (wanted_ && error != AVERROR_EOF) return FfmpegCorrupt(error);
    return wanted_ ? Decode(nullptr) : std::nullopt;
  }

  // Null: the end.
  FfmpegFault Decode(const AVPacket* packet) {
    int error = avcodec_send_packet(codec_.get(), packet);
    if (error < 0 && error != AVERROR_EOF) return FfmpegCorrupt(error);
    while (wanted_ && (error = avcodec_receive_frame(codec_.get(), frame_.get())) >= 0) {
      FfmpegFault fault = Write();
      av_frame_unref(frame_.get());
      if (fault) return fault;
    }
    const bool more = error == AVERROR(EAGAIN) || error == AVERROR_EOF;
    return !wanted_ || more ? std::nullopt : FfmpegCorrupt(error);
  }

  // The frame's samples.
  FfmpegFault Write() {
    const int channels = frame_->ch_layout.nb_channels;
    const auto format = static_cast<AVSampleFormat>(frame_->format);
    if (channels < 1 || channels > kMostChannels) {
      return absl::StrCat("has ", channels, " channels; 1 to ", kMostChannels, " can be read");
    }
    if (format != AV_SAMPLE_FMT_FLTP && format != AV_SAMPLE_FMT_S16P &&
        format != AV_SAMPLE_FMT_S32P) {
      return "has samples of a form that can't be read";
    }
    const auto width = static_cast<size_t>(channels);
    const auto samples = static_cast<size_t>(frame_->nb_samples);
    const size_t step = kMostValues / width;
    for (size_t from = 0; wanted_ && from < samples; from += step) {
      values_.clear();
      for (size_t i = from; i < std::min(samples, from + step); ++i) {
        for (size_t c = 0; c < width; ++c) {
          values_.push_back(SampleAt(frame_->extended_data[c], format, i));
        }
      }
      WriteValues(channels);
    }
    return std::nullopt;
  }

  void WriteValues(int channels) {
    const SampleForm form{static_cast<uint32_t>(frame_->sample_rate),
                          static_cast<uint32_t>(channels)};
    message_.resize(sizeof(form) + values_.size() * sizeof(float));
    std::memcpy(message_.data(), &form, sizeof(form));
    std::memcpy(&message_[sizeof(form)], values_.data(), values_.size() * sizeof(float));
    wanted_ = write_(FfmpegMessage::kSamples, message_);
  }

  const FfmpegSoundTask& task_;
  const FfmpegWriter& write_;
  FfmpegInput input_;
  AVStream* stream_ = nullptr;
  FfmpegCodec codec_;
  FfmpegPacket packet_;
  FfmpegFrame frame_;
  std::vector<float> values_;
  std::string message_;
  bool wanted_ = true;
};

}  // namespace

void DecodeFfmpegSound(absl::string_view file, const FfmpegSoundTask& task,
                       const FfmpegWriter& write) {
  WriteEnd(SoundReader(file, task, write).Run(), write);
}

}  // namespace softsplice
