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
#include "encoder_svc/ffmpeg/messages.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/guarded.h"
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

// Of samples, and of what a decoder has in work.
uint64_t SampleBytes(int64_t samples) {
  constexpr uint64_t kInWork = 1 << 20;
  return static_cast<uint64_t>(samples) * sizeof(float) + kInWork;
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

struct EncoderImpl::SoundOnItsWay final : Medium {
  SoundOnItsWay(std::shared_ptr<CancelToken> token, absl::Duration until, SoundType its_type,
                const Digest& its_digest, std::string its_data, SharedRows::Sink sink)
      : Medium(std::move(token), until),
        type(std::move(its_type)),
        digest(its_digest),
        data(std::move(its_data)),
        to(std::move(sink)) {}

  void Tell(const absl::Status& end) override {
    samples = {};
    timings.queued = queued;
    to.done(end, timings);
  }

  const SoundType type;
  const Digest digest;
  std::string data;
  const SharedRows::Sink to;
  std::vector<float> samples;
  std::vector<AudioSegment> segments;
  size_t next = 0;  // segment
  EncodeTimings timings;
};

void EncoderImpl::EncodeAudio(AudioJob job, AudioCallbacks callbacks) {
  const absl::Status status = Guarded([&] { return BeginSound(job, callbacks); });
  if (!status.ok()) callbacks.done(status, {});
}

SoundLimits EncoderImpl::LimitsOfSounds() const {
  return {.max_bytes = options_.max_media_bytes,
          .max_duration = options_.max_audio_duration,
          .ffmpeg = options_.ffmpeg};
}

absl::StatusOr<AudioLayout> EncoderImpl::LayOut(const Digest& digest, int64_t samples) const {
  AudioLayout layout{.dim = info_.dim, .content_digest = digest};
  ASSIGN_OR_RETURN(layout.segments, CutIntoSegments(samples));
  layout.rows = layout.segments.back().first_row + layout.segments.back().rows;
  return layout;
}

absl::Status EncoderImpl::BeginSound(AudioJob& job, const AudioCallbacks& to) {
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
    ASSIGN_OR_RETURN(AudioLayout layout, LayOut(digest, *header.samples));
    rows = layout.rows;
    if (at_once) {
      to.layout(std::move(layout));
      to.done(absl::OkStatus(), {});
      return absl::OkStatus();
    }
  }
  SharedRows::Wish wish{
      .bytes = static_cast<uint64_t>(rows) * static_cast<uint64_t>(info_.dim) * sizeof(float),
      .cancel = job.cancel,
      .deadline = job.deadline,
      .to = to};
  if (!job.header_only) wish.digest = digest;
  const int64_t segment =
      std::min<int64_t>(header.samples.value_or(kSegmentSamples), kSegmentSamples);
  const int first_rows = job.header_only ? 0 : SoundTokenCount(MelFrameCount(segment));
  wish.begin = [this, bytes, first_rows, digest, header_only = job.header_only,
                until = job.deadline, type = header.type,
                data = std::move(job.data)](auto cancel, SharedRows::Sink sink) mutable {
    const auto sound = std::make_shared<SoundOnItsWay>(std::move(cancel), until, std::move(type),
                                                       digest, std::move(data), std::move(sink));
    return pipeline_.Decode(sound, Tower::kAudio, first_rows, bytes, [this, sound, header_only] {
      return PrepareSound(sound, header_only);
    });
  };
  shared_.Read(std::move(wish));
  return absl::OkStatus();
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::PrepareSound(const SharedSound& sound,
                                                              bool header_only) {
  const absl::Duration start = SteadyNow();
  SoundLimits limits = LimitsOfSounds();
  limits.go_on = [&] { return sound->CheckWanted(); };
  ASSIGN_OR_RETURN(sound->samples, DecodeSound(sound->data, sound->type, limits));
  ASSIGN_OR_RETURN(AudioLayout layout,
                   LayOut(sound->digest, static_cast<int64_t>(sound->samples.size())));
  sound->segments = layout.segments;
  std::string().swap(sound->data);
  sound->memory.ShrinkTo(sound->samples.capacity() * sizeof(float));
  sound->timings.preprocess = SteadyNow() - start;
  if (header_only) sound->Release();
  return [this, sound, header_only, layout = std::move(layout)]() mutable {
    sound->to.layout(std::move(layout));
    if (header_only) return sound->Tell(absl::OkStatus());
    EncodeNext(sound);
  };
}

// Behind the others that wait by now: a long sound does not keep them from the encoder.
void EncoderImpl::EncodeNext(const SharedSound& sound) {
  sound->parked = {};
  sound->work = pipeline_.backlog().Add(Tower::kAudio, sound->segments[sound->next].rows);
  pipeline_.Encode(sound, {}, [this, sound](const auto&) { return RunSegment(sound); });
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::RunSegment(const SharedSound& sound) {
  const absl::Duration start = SteadyNow();
  const MelFrames mel = LogMel(SegmentSamples(sound->samples, sound->next), options_.mel_floor);
  const absl::Duration prepared = SteadyNow();
  sound->timings.preprocess += prepared - start;
  absl::StatusOr<std::vector<float>> values = models_->Encode(mel);
  NotePass(values.status());
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
