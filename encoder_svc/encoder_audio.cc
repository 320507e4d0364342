// The steps of a sound: its header at once, samples on a decoder's thread, the tower, a segment at
// a time.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/time/steady.h"
#include "encoder_svc/audio/decode.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/guarded.h"

namespace softsplice {
namespace {

// What decides a sound's samples besides its bytes.
std::string DigestOptions(const SoundType& type) {
  if (type.format != SoundFormat::kPcm) return "audio:file";
  return absl::StrCat("audio:pcm:", type.rate, ":", type.channels, ":",
                      type.little_endian ? "little" : "big");
}

// Of samples, and of what a decoder has in work.
uint64_t SampleBytes(int64_t samples) {
  constexpr uint64_t kInWork = 1 << 20;
  return static_cast<uint64_t>(samples) * sizeof(float) + kInWork;
}

}  // namespace

struct EncoderImpl::SoundOnItsWay final : Medium {
  SoundOnItsWay(AudioJob its_job, AudioCallbacks callbacks)
      : Medium(its_job.cancel, its_job.deadline),
        job(std::move(its_job)),
        to(std::move(callbacks)) {}

  // Lets go of the receiver, which may hold `next`, and that this sound.
  void Tell(const absl::Status& end) override {
    samples = {};
    timings.queued = queued;
    const AudioCallbacks told = std::exchange(to, {});
    told.done(end, timings);
  }

  AudioJob job;
  AudioCallbacks to;
  SoundHeader header;
  std::vector<float> samples;
  std::vector<AudioSegment> segments;
  size_t next = 0;  // segment
  EncodeTimings timings;
};

void EncoderImpl::EncodeAudio(AudioJob job, AudioCallbacks callbacks) {
  const auto sound = std::make_shared<SoundOnItsWay>(std::move(job), std::move(callbacks));
  const absl::Status status = Guarded([&] { return BeginSound(sound); });
  if (!status.ok()) sound->Tell(status);
}

SoundLimits EncoderImpl::LimitsOfSounds() const {
  return {.max_bytes = options_.max_media_bytes, .max_duration = options_.max_audio_duration};
}

absl::StatusOr<AudioLayout> EncoderImpl::LayOut(SoundOnItsWay& sound, int64_t samples) const {
  ASSIGN_OR_RETURN(sound.segments, CutIntoSegments(samples));
  const AudioSegment& last = sound.segments.back();
  return AudioLayout{.rows = last.first_row + last.rows,
                     .dim = info_.dim,
                     .content_digest = ContentDigest(
                         sound.job.data, DigestOptions(sound.header.type), info_.fingerprint),
                     .segments = sound.segments};
}

absl::Status EncoderImpl::BeginSound(const SharedSound& sound) {
  if (models_->audio() == nullptr) return NoTower("audio");
  RETURN_IF_ERROR(sound->CheckWanted());
  const AudioJob& job = sound->job;
  ASSIGN_OR_RETURN(sound->header, ReadSoundHeader(job.data, job.mime_type, LimitsOfSounds()));
  const std::optional<int64_t> samples = sound->header.samples;
  if (samples && job.header_only) {
    ASSIGN_OR_RETURN(AudioLayout layout, LayOut(*sound, *samples));
    sound->to.layout(std::move(layout));
    sound->Tell(absl::OkStatus());
    return absl::OkStatus();
  }
  // An unknown length is the longest one, in a buffer that grows by doubling.
  const auto longest =
      static_cast<int64_t>(absl::ToDoubleSeconds(options_.max_audio_duration) * kSampleRate);
  const uint64_t bytes =
      samples ? SampleBytes(*samples) : std::min(3 * SampleBytes(longest), options_.decode_memory);
  RETURN_IF_ERROR(CheckMemory("sound", bytes));
  const int64_t segment = std::min<int64_t>(samples.value_or(kSegmentSamples), kSegmentSamples);
  const int rows = job.header_only ? 0 : SoundTokenCount(MelFrameCount(segment));
  return pipeline_.Decode(sound, Tower::kAudio, rows, bytes,
                          [this, sound] { return PrepareSound(sound); });
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::PrepareSound(const SharedSound& sound) {
  const absl::Duration start = SteadyNow();
  SoundLimits limits = LimitsOfSounds();
  limits.go_on = [&] { return sound->CheckWanted(); };
  ASSIGN_OR_RETURN(sound->samples, DecodeSound(sound->job.data, sound->header.type, limits));
  ASSIGN_OR_RETURN(AudioLayout layout, LayOut(*sound, static_cast<int64_t>(sound->samples.size())));
  std::string().swap(sound->job.data);
  sound->memory.ShrinkTo(sound->samples.capacity() * sizeof(float));
  sound->timings.preprocess = SteadyNow() - start;
  if (sound->job.header_only) sound->Release();
  return [this, sound, layout = std::move(layout)]() mutable {
    sound->to.layout(std::move(layout));
    if (sound->job.header_only) return sound->Tell(absl::OkStatus());
    EncodeNext(sound);
  };
}

// Behind the others that wait by now: a long sound does not keep them from the encoder.
void EncoderImpl::EncodeNext(const SharedSound& sound) {
  sound->parked = {};
  sound->work = pipeline_.backlog().Add(Tower::kAudio, sound->segments[sound->next].rows);
  pipeline_.Encode(sound, [this, sound] { return RunSegment(sound); });
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::RunSegment(const SharedSound& sound) {
  const absl::Duration start = SteadyNow();
  const MelFrames mel = LogMel(SegmentSamples(sound->samples, sound->next), options_.mel_floor);
  const absl::Duration prepared = SteadyNow();
  sound->timings.preprocess += prepared - start;
  absl::StatusOr<std::vector<float>> values = models_->Encode(mel);
  passes_.Note(values.status());
  RETURN_IF_ERROR(values.status());
  const absl::Duration forward = SteadyNow() - prepared;
  sound->timings.forward += forward;
  pipeline_.backlog().Measured(Tower::kAudio, sound->segments[sound->next].rows, forward);
  if (++sound->next == sound->segments.size()) {
    sound->Release();
    return [sound, rows = *std::move(values)]() mutable {
      sound->to.rows(std::move(rows), nullptr);
      sound->Tell(absl::OkStatus());
    };
  }
  sound->work = {};
  pipeline_.Offer(*sound);
  return [this, sound, rows = *std::move(values)]() mutable {
    sound->to.rows(std::move(rows), [this, sound] { GoOn(sound); });
    if (pipeline_.Park(*sound)) EncodeNext(sound);
  };
}

void EncoderImpl::GoOn(const SharedSound& sound) {
  if (Pipeline::Leave(*sound)) EncodeNext(sound);
}

}  // namespace softsplice
