// The encoder engine: the steps of a job.
#include "encoder_svc/encoder.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/config/mmproj.h"
#include "common/gguf/file.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "encoder_svc/audio/decode.h"
#include "encoder_svc/audio/format.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/image/decode.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/image/resize.h"
#include "encoder_svc/job_queue.h"
#include "encoder_svc/model/conformer.h"
#include "encoder_svc/model/vit.h"

namespace softsplice {
namespace {

// Changes whenever the same weights and the same medium would give other rows.
constexpr absl::string_view kVersion = "softsplice image preprocessing 1, audio preprocessing 1";
constexpr int kBudgets[] = {70, 140, 280, 560, 1120};
constexpr int kDefaultBudget = 280;

absl::StatusOr<int> Budget(int max_soft_tokens) {
  if (max_soft_tokens == 0) return kDefaultBudget;
  if (std::find(std::begin(kBudgets), std::end(kBudgets), max_soft_tokens) != std::end(kBudgets)) {
    return max_soft_tokens;
  }
  return InvalidField("max_soft_tokens", absl::StrCat("max_soft_tokens is ", max_soft_tokens,
                                                      "; it must be 70, 140, 280, 560 or 1120"));
}

// Whether anybody still waits for the job.
template <typename Job>
absl::Status CheckWanted(const Job& job) {
  if (job.cancelled()) return absl::CancelledError("the request was cancelled");
  if (absl::Now() >= job.deadline) {
    return absl::DeadlineExceededError("the deadline passed before the medium was encoded");
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(const std::vector<float>& values, absl::string_view tower) {
  if (std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kInternal,
                   absl::StrCat("the ", tower, " tower gave values that are not finite"),
                   {.reason = reason::kModelNotFinite});
}

absl::Status NoTower(absl::string_view medium) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("this encoder's mmproj file has no ", medium, " tower"),
                   {.reason = reason::kNoTower, .field = "data"});
}

// What decides a sound's samples besides its bytes.
std::string DigestOptions(const SoundType& type) {
  if (type.format != SoundFormat::kPcm) return "audio:file";
  return absl::StrCat("audio:pcm:", type.rate, ":", type.channels, ":",
                      type.little_endian ? "little" : "big");
}

struct Models {
  // Those that the file has; one at least.
  std::unique_ptr<Vit> image;
  std::unique_ptr<Conformer> audio;

  EncoderInfo Info(const Backend& backend, const Digest& fingerprint) const {
    return {.model_name = image ? image->config().name : audio->config().name,
            .backend = backend.Name(),
            .fingerprint = fingerprint,
            .dim = image ? image->config().projection_dim : audio->config().projection_dim,
            .has_image_tower = image != nullptr,
            .has_audio_tower = audio != nullptr};
  }
};

class EncoderImpl final : public Encoder {
 public:
  EncoderImpl(const EncoderOptions& options, std::unique_ptr<gguf::File> file,
              std::unique_ptr<Backend> backend, Models models, const Digest& fingerprint)
      : options_(options),
        file_(std::move(file)),
        backend_(std::move(backend)),
        models_(std::move(models)),
        info_(models_.Info(*backend_, fingerprint)),
        queue_(options.max_queue) {}
  ~EncoderImpl() override { Shutdown(); }

  void EncodeImage(ImageJob job, ImageDone done) override;
  void EncodeAudio(AudioJob job, AudioCallbacks callbacks) override;
  const EncoderInfo& info() const override { return info_; }
  EncoderLoadFigures load() const override {
    return {.queued = queue_.waiting(), .encoding = queue_.running() ? 1 : 0};
  }
  void Shutdown() override { queue_.Shutdown(); }

 private:
  // A sound on its way: what is left of it between its segments.
  struct Sound {
    AudioJob job;
    AudioCallbacks to;
    absl::Time since;  // waits in the queue
    std::vector<float> samples;
    size_t segments = 0;
    size_t next = 0;  // segment
    EncodeTimings timings;
    std::shared_ptr<void> place;  // in the queue, while there are segments to come
  };
  using SharedSound = std::shared_ptr<Sound>;

  absl::Status EnqueueImage(ImageJob& job, ImageDone& done);
  absl::StatusOr<EncodedImage> Encode(ImageJob job, absl::Time since);
  // Fills in what is known before the tower runs.
  absl::StatusOr<Patches> Preprocess(const ImageJob& job, EncodedImage& result) const;

  JobQueue::Answer BeginSound(const SharedSound& sound);
  // Decodes; tells the layout.
  absl::Status Hear(Sound& sound);
  JobQueue::Answer EncodeSegment(const SharedSound& sound);
  absl::StatusOr<std::vector<float>> RunSegment(Sound& sound);
  void GoOn(const SharedSound& sound);

  const EncoderOptions options_;
  const std::unique_ptr<gguf::File> file_;  // the image tower reads its position table from it
  const std::unique_ptr<Backend> backend_;
  const Models models_;
  const EncoderInfo info_;
  JobQueue queue_;  // last: its thread uses all of the above
};

absl::Status EncoderImpl::EnqueueImage(ImageJob& job, ImageDone& done) {
  if (models_.image == nullptr) return NoTower("image");
  ASSIGN_OR_RETURN(job.max_soft_tokens, Budget(job.max_soft_tokens));
  // Whether it is refused is known only once it was handed over.
  auto shared = std::make_shared<std::pair<ImageJob, ImageDone>>(std::move(job), done);
  return queue_.Add([this, shared, since = absl::Now()]() -> JobQueue::Answer {
    return [shared, result = Encode(std::move(shared->first), since)]() mutable {
      shared->second(std::move(result));
    };
  });
}

void EncoderImpl::EncodeImage(ImageJob job, ImageDone done) {
  const absl::Status status = EnqueueImage(job, done);
  if (!status.ok()) done(status);
}

absl::StatusOr<Patches> EncoderImpl::Preprocess(const ImageJob& job, EncodedImage& result) const {
  const VisionConfig& config = models_.image->config();
  ASSIGN_OR_RETURN(const ImageHeader header,
                   ReadImageHeader(job.data, job.mime_type,
                                   {options_.max_media_bytes, options_.max_image_pixels}));
  ASSIGN_OR_RETURN(const Picture picture, DecodeImage(job.data, header));
  result.source_width = picture.width;
  result.source_height = picture.height;
  ASSIGN_OR_RETURN(
      const PictureSize size,
      TargetSize(picture.width, picture.height, job.max_soft_tokens, config.patch, config.pool));
  RETURN_IF_ERROR(models_.image->CheckGrid(size.width / config.patch, size.height / config.patch));
  result.resized_width = size.width;
  result.resized_height = size.height;
  result.grid_columns = size.width / (config.patch * config.pool);
  result.grid_rows = size.height / (config.patch * config.pool);
  return MakePatches(ResizeBicubic(picture, size), config.patch);
}

absl::StatusOr<EncodedImage> EncoderImpl::Encode(ImageJob job, absl::Time since) {
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(CheckWanted(job));
  EncodedImage result{.dim = info_.dim, .max_soft_tokens = job.max_soft_tokens};
  ASSIGN_OR_RETURN(const Patches patches, Preprocess(job, result));
  result.content_digest =
      ContentDigest(job.data, absl::StrCat("image:", job.max_soft_tokens), info_.fingerprint);
  job.data = {};
  const absl::Time preprocessed = absl::Now();

  result.rows = result.grid_rows * result.grid_columns;
  result.timings = {.queued = start - since, .preprocess = preprocessed - start};
  if (job.header_only) return result;
  RETURN_IF_ERROR(CheckWanted(job));
  ASSIGN_OR_RETURN(auto soft_tokens, models_.image->Encode(absl::MakeConstSpan(&patches, 1)));
  result.values = std::move(soft_tokens[0]);
  RETURN_IF_ERROR(CheckFinite(result.values, "image"));
  result.timings.forward = absl::Now() - preprocessed;
  return result;
}

void EncoderImpl::EncodeAudio(AudioJob job, AudioCallbacks callbacks) {
  const auto sound = std::make_shared<Sound>(
      Sound{.job = std::move(job), .to = std::move(callbacks), .since = absl::Now()});
  const absl::Status status = models_.audio == nullptr
                                  ? NoTower("audio")
                                  : queue_.Add([this, sound] { return BeginSound(sound); });
  if (!status.ok()) sound->to.done(status, sound->timings);
}

JobQueue::Answer EncoderImpl::BeginSound(const SharedSound& sound) {
  const absl::Time start = absl::Now();
  sound->timings.queued = start - sound->since;
  const absl::Status status = Hear(*sound);
  sound->timings.preprocess = absl::Now() - start;
  if (status.ok() && !sound->job.header_only) return EncodeSegment(sound);
  return [sound, status] { sound->to.done(status, sound->timings); };
}

absl::Status EncoderImpl::Hear(Sound& sound) {
  RETURN_IF_ERROR(CheckWanted(sound.job));
  const std::string data = std::move(sound.job.data);
  const SoundLimits limits{options_.max_media_bytes, options_.max_audio_duration};
  ASSIGN_OR_RETURN(const SoundHeader header, ReadSoundHeader(data, sound.job.mime_type, limits));
  ASSIGN_OR_RETURN(sound.samples, DecodeSound(data, header.type, limits));
  AudioLayout layout{.dim = info_.dim};
  ASSIGN_OR_RETURN(layout.segments, CutIntoSegments(static_cast<int64_t>(sound.samples.size())));
  layout.rows = layout.segments.back().first_row + layout.segments.back().rows;
  layout.content_digest = ContentDigest(data, DigestOptions(header.type), info_.fingerprint);
  sound.segments = layout.segments.size();
  sound.to.layout(std::move(layout));
  return absl::OkStatus();
}

JobQueue::Answer EncoderImpl::EncodeSegment(const SharedSound& sound) {
  absl::StatusOr<std::vector<float>> values = RunSegment(*sound);
  if (!values.ok()) {
    return [sound, status = values.status()] { sound->to.done(status, sound->timings); };
  }
  const bool last = ++sound->next == sound->segments;
  sound->place = last ? nullptr : queue_.Hold();
  return [this, sound, last, values = *std::move(values)]() mutable {
    if (!last) return sound->to.rows(std::move(values), [this, sound] { GoOn(sound); });
    sound->to.rows(std::move(values), nullptr);
    sound->to.done(absl::OkStatus(), sound->timings);
  };
}

absl::StatusOr<std::vector<float>> EncoderImpl::RunSegment(Sound& sound) {
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(CheckWanted(sound.job));
  const MelFrames mel = LogMel(SegmentSamples(sound.samples, sound.next), options_.mel_floor);
  const absl::Time preprocessed = absl::Now();
  sound.timings.preprocess += preprocessed - start;
  ASSIGN_OR_RETURN(auto soft_tokens, models_.audio->Encode(absl::MakeConstSpan(&mel, 1)));
  RETURN_IF_ERROR(CheckFinite(soft_tokens[0], "audio"));
  sound.timings.forward += absl::Now() - preprocessed;
  return std::move(soft_tokens[0]);
}

// The receiver has room again. Behind the others that wait by now: a long sound does not keep them
// from the encoder.
void EncoderImpl::GoOn(const SharedSound& sound) {
  sound->place = nullptr;
  sound->since = absl::Now();
  const absl::Status status = queue_.AddPart([this, sound] {
    sound->timings.queued += absl::Now() - sound->since;
    return EncodeSegment(sound);
  });
  if (!status.ok()) sound->to.done(status, sound->timings);
}

std::string Version(const EncoderOptions& options) {
  return absl::StrCat(kVersion, options.quick_gelu ? ", quick gelu" : "",
                      options.mel_floor == MelFloor::kMax ? ", max mel floor" : "");
}

absl::StatusOr<Models> LoadModels(const gguf::File& file, Towers towers, Backend& backend,
                                  const EncoderOptions& options) {
  Models models;
  if (towers.image) {
    ASSIGN_OR_RETURN(models.image,
                     Vit::Load(file, backend, options.quick_gelu ? Gelu::kQuick : Gelu::kTanh));
  }
  if (towers.audio) {
    ASSIGN_OR_RETURN(models.audio, Conformer::Load(file, backend));
  }
  if (models.image == nullptr || models.audio == nullptr) return models;
  const int image_dim = models.image->config().projection_dim,
            audio_dim = models.audio->config().projection_dim;
  if (image_dim == audio_dim) return models;
  return InvalidFile(file.path(), absl::StrCat("soft tokens of pictures have ", image_dim,
                                               " numbers and those of sounds ", audio_dim));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> Encoder::Load(const EncoderOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<gguf::File> file, gguf::File::Open(options.mmproj_path));
  // Before the whole file is read: it may be one of another kind.
  ASSIGN_OR_RETURN(const Towers towers, FindTowers(*file));
  if (towers.image) RETURN_IF_ERROR(VisionConfig::FromGguf(*file).status());
  if (towers.audio) RETURN_IF_ERROR(AudioConfig::FromGguf(*file).status());
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, MakeBackend(options.backend));
  // Next to packing: both mostly wait for the disk.
  std::future<Digest> fingerprint =
      std::async(std::launch::async, [&] { return Fingerprint(*file, Version(options)); });
  ASSIGN_OR_RETURN(Models models, LoadModels(*file, towers, *backend, options));
  const Digest digest = fingerprint.get();
  return std::make_unique<EncoderImpl>(options, std::move(file), std::move(backend),
                                       std::move(models), digest);
}

}  // namespace softsplice
