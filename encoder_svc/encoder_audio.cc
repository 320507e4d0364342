// The first steps of a sound: its header at once, samples on a decoder's thread.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/time/steady.h"
#include "encoder_svc/audio/decode.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/ffmpeg/messages.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/guarded.h"
#include "encoder_svc/recording.h"
#include "encoder_svc/shared_rows.h"

namespace softsplice {
namespace {

// What decides a sound's samples besides its bytes.
std::string DigestOptions(const SoundType& type) {
  // The sound beside a video is read only for who asks for it.
  if (NeedsFfmpeg(type.format) && type.sound_alone) return "audio:alone";
  if (type.format != SoundFormat::kPcm) return "audio:file";
  return absl::StrCat("audio:pcm:", type.rate, ":", type.channels, ":",
                      type.little_endian ? "little" : "big");
}

// Of a sound's decoding, as far as the header tells: an unknown length is the longest one, in a
// buffer that grows by doubling. A copy of the file is FFmpeg's, or an OGG that is counted anew.
uint64_t DecodeBytes(const SoundHeader& header, uint64_t file, absl::Duration longest) {
  if (header.samples) return SampleBytes(*header.samples);
  const auto samples = static_cast<int64_t>(absl::ToDoubleSeconds(longest) * kSampleRate);
  const uint64_t process = NeedsFfmpeg(header.type.format) ? kFfmpegProcessBytes : 0;
  return 3 * SampleBytes(samples) + file + process;
}

}  // namespace

uint64_t SampleBytes(int64_t samples) {
  constexpr uint64_t kInWork = 1 << 20;  // by a decoder
  return static_cast<uint64_t>(samples) * sizeof(float) + kInWork;
}

void EncoderImpl::EncodeAudio(AudioJob job, RecordingCallbacks callbacks) {
  const absl::Status status = Guarded([&] { return BeginSound(job, callbacks); });
  if (!status.ok()) callbacks.done(status, {});
}

SoundLimits EncoderImpl::LimitsOfSounds() const {
  return {.max_bytes = options_.max_media_bytes,
          .max_duration = options_.max_audio_duration,
          .ffmpeg = options_.ffmpeg};
}

absl::StatusOr<RecordingLayout> EncoderImpl::LayOutSound(const Digest& digest,
                                                         int64_t samples) const {
  RecordingLayout layout{.dim = info_.dim, .content_digest = digest};
  ASSIGN_OR_RETURN(layout.segments, CutIntoSegments(samples));
  layout.rows = layout.segments.back().first_row + layout.segments.back().rows;
  return layout;
}

absl::Status EncoderImpl::BeginSound(AudioJob& job, const RecordingCallbacks& to) {
  if (models_->audio() == nullptr) return NoTower("audio");
  RETURN_IF_ERROR(CheckWanted(*job.cancel, job.deadline));
  ASSIGN_OR_RETURN(const SoundHeader header,
                   ReadSoundHeader(job.data, job.mime_type, LimitsOfSounds()));
  uint64_t bytes = DecodeBytes(header, job.data.size(), options_.max_audio_duration);
  if (!header.samples) bytes = std::min(bytes, options_.decode_memory);
  const bool at_once = job.header_only && header.samples;
  if (!at_once) RETURN_IF_ERROR(CheckMemory("sound", bytes));
  const Digest digest = ContentDigest(job.data, DigestOptions(header.type), info_.fingerprint);
  int rows = 0;
  if (header.samples) {
    ASSIGN_OR_RETURN(RecordingLayout layout, LayOutSound(digest, *header.samples));
    rows = layout.rows;
    if (at_once) {
      to.layout(std::move(layout));
      to.done(absl::OkStatus(), {});
      return absl::OkStatus();
    }
  }
  SharedRows::Wish wish{
      .bytes = RowBytes(rows), .cancel = job.cancel, .deadline = job.deadline, .to = to};
  if (!job.header_only) wish.digest = digest;
  const int64_t segment =
      std::min<int64_t>(header.samples.value_or(kSegmentSamples), kSegmentSamples);
  const int first_rows = job.header_only ? 0 : SoundTokenCount(MelFrameCount(segment));
  wish.begin = [this, bytes, first_rows, digest, header_only = job.header_only,
                until = job.deadline, type = header.type,
                data = std::move(job.data)](auto cancel, SharedRows::Sink sink) mutable {
    const auto sound = std::make_shared<RecordingOnItsWay>(std::move(cancel), until, digest,
                                                           std::move(data), std::move(sink));
    return pipeline_.Decode(
        sound,
        {.tower = Tower::kAudio,
         .rows = first_rows,
         .bytes = bytes,
         .lasting = true,
         .fenced = NeedsFfmpeg(type.format)},
        [this, sound, type, header_only] { return PrepareSound(sound, type, header_only); });
  };
  shared_.Read(std::move(wish));
  return absl::OkStatus();
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::PrepareSound(const SharedRecording& sound,
                                                              const SoundType& type,
                                                              bool header_only) {
  const absl::Duration start = SteadyNow();
  SoundLimits limits = LimitsOfSounds();
  limits.go_on = [&] { return sound->CheckWanted(); };
  ASSIGN_OR_RETURN(sound->samples, DecodeSound(sound->data, type, limits));
  ASSIGN_OR_RETURN(sound->layout,
                   LayOutSound(sound->digest, static_cast<int64_t>(sound->samples.size())));
  sound->timings.preprocess = SteadyNow() - start;
  return Prepared(sound, header_only);
}

}  // namespace softsplice
