// See sound.h.
#include "encoder_svc/ffmpeg/sound.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "encoder_svc/ffmpeg/input.h"

namespace softsplice {
namespace {

constexpr char kDecoders[] = "aac,alac,mp3float,opus,vorbis";
constexpr int kMostChannels = 64;
constexpr size_t kMostValues = 65536;  // of a message

template <class T, void (*Free)(T**)>
struct Freed {
  void operator()(T* object) const { Free(&object); }
};
using Packet = std::unique_ptr<AVPacket, Freed<AVPacket, av_packet_free>>;
using Frame = std::unique_ptr<AVFrame, Freed<AVFrame, av_frame_free>>;
using Codec = std::unique_ptr<AVCodecContext, Freed<AVCodecContext, avcodec_free_context>>;

const char* DemuxerOf(absl::string_view format) {
  return format == "mp4" ? "mov" : format == "webm" ? "matroska" : "aac";
}

const AVCodec* DecoderOf(AVCodecID id) {
  switch (id) {
    case AV_CODEC_ID_AAC:
      return avcodec_find_decoder_by_name("aac");
    case AV_CODEC_ID_ALAC:
      return avcodec_find_decoder_by_name("alac");
    case AV_CODEC_ID_MP3:
      return avcodec_find_decoder_by_name("mp3float");
    case AV_CODEC_ID_OPUS:
      return avcodec_find_decoder_by_name("opus");
    case AV_CODEC_ID_VORBIS:
      return avcodec_find_decoder_by_name("vorbis");
    default:
      return nullptr;
  }
}

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

// One file on its way. Its steps give what is wrong, if anything is; "" is memory.
class SoundReader {
 public:
  using Fault = std::optional<std::string>;

  SoundReader(absl::string_view file, const FfmpegSoundTask& task, const FfmpegWriter& write)
      : task_(task), write_(write), input_(file, DemuxerOf(task.format), kDecoders) {}

  Fault Run() {
    if (const int error = input_.Open(); error < 0) return Corrupt(error);
    if (Fault fault = CheckVideo()) return fault;
    if (const int error = input_.FindStreamInfo(); error < 0) return Corrupt(error);
    if (Fault fault = OpenStream()) return fault;
    TellLength();
    return ReadPackets();
  }

 private:
  static Fault Corrupt(int error) {
    if (error == AVERROR(ENOMEM)) return "";
    return absl::StrCat("is truncated or corrupt: ", FfmpegError(error));
  }

  AVFormatContext* format() const { return input_.format(); }

  // Nothing but sounds is looked at any further.
  Fault CheckVideo() {
    for (unsigned i = 0; i < format()->nb_streams; ++i) {
      AVStream* stream = format()->streams[i];
      const AVMediaType type = stream->codecpar->codec_type;
      const bool cover = (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
      if (type == AVMEDIA_TYPE_VIDEO && !cover && !task_.sound_alone) {
        return "holds a video, which can't be read; with a mime type of audio/... its sound is";
      }
      if (type != AVMEDIA_TYPE_AUDIO) stream->discard = AVDISCARD_ALL;
    }
    return std::nullopt;
  }

  Fault OpenStream() {
    const int index = av_find_best_stream(format(), AVMEDIA_TYPE_AUDIO, -1, -1, nullptr, 0);
    if (index < 0) return "has no sound in it";
    stream_ = format()->streams[index];
    const AVCodec* decoder = DecoderOf(stream_->codecpar->codec_id);
    if (decoder == nullptr) {
      return absl::StrCat("is coded as ", avcodec_get_name(stream_->codecpar->codec_id),
                          ", which can't be read");
    }
    codec_.reset(avcodec_alloc_context3(decoder));
    packet_.reset(av_packet_alloc());
    frame_.reset(av_frame_alloc());
    if (codec_ == nullptr || packet_ == nullptr || frame_ == nullptr) return "";
    int error = avcodec_parameters_to_context(codec_.get(), stream_->codecpar);
    codec_->pkt_timebase = stream_->time_base;
    codec_->thread_count = 1;
    if (error >= 0) error = avcodec_open2(codec_.get(), decoder, nullptr);
    return error < 0 ? Corrupt(error) : std::nullopt;
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

  Fault ReadPackets() {
    int error = 0;
    Fault fault;
    while (wanted_ && (error = av_read_frame(format(), packet_.get())) >= 0) {
      if (fault) return fault;
      const bool ours = packet_->stream_index == stream_->index;
      if (ours) fault = Decode(packet_.get());
      av_packet_unref(packet_.get());
    }
    const bool tells_its_end = task_.format != "aac";
    if (fault && tells_its_end) return fault;
    if (wanted_ && error != AVERROR_EOF) return Corrupt(error);
    return wanted_ ? Decode(nullptr) : std::nullopt;
  }

  // Null: the end.
  Fault Decode(const AVPacket* packet) {
    int error = avcodec_send_packet(codec_.get(), packet);
    if (error < 0 && error != AVERROR_EOF) return Corrupt(error);
    while (wanted_ && (error = avcodec_receive_frame(codec_.get(), frame_.get())) >= 0) {
      Fault fault = Write();
      av_frame_unref(frame_.get());
      if (fault) return fault;
    }
    const bool more = error == AVERROR(EAGAIN) || error == AVERROR_EOF;
    return !wanted_ || more ? std::nullopt : Corrupt(error);
  }

  // The frame's samples.
  Fault Write() {
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
  Codec codec_;
  Packet packet_;
  Frame frame_;
  std::vector<float> values_;
  std::string message_;
  bool wanted_ = true;
};

}  // namespace

void DecodeFfmpegSound(absl::string_view file, const FfmpegSoundTask& task,
                       const FfmpegWriter& write) {
  const SoundReader::Fault fault = SoundReader(file, task, write).Run();
  if (!fault) {
    write(FfmpegMessage::kEnd, "");
  } else if (fault->empty()) {
    write(FfmpegMessage::kOutOfMemory, "");
  } else {
    write(FfmpegMessage::kUnreadable, *fault);
  }
}

}  // namespace softsplice
