// The encoder engine: a queue, a thread, and the steps of a job.
#include "encoder_svc/encoder.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/config/vision_config.h"
#include "common/gguf/file.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/image/decode.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/image/resize.h"
#include "encoder_svc/model/vit.h"

namespace softsplice {
namespace {

// Changes whenever the same weights and the same picture would give other rows.
constexpr absl::string_view kVersion = "softsplice image preprocessing 1";
constexpr int kBudgets[] = {70, 140, 280, 560, 1120};
constexpr int kDefaultBudget = 280;
// A job takes seconds: sooner than this no place becomes free.
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

absl::StatusOr<int> Budget(int max_soft_tokens) {
  if (max_soft_tokens == 0) return kDefaultBudget;
  if (std::find(std::begin(kBudgets), std::end(kBudgets), max_soft_tokens) != std::end(kBudgets)) {
    return max_soft_tokens;
  }
  return InvalidField("max_soft_tokens", absl::StrCat("max_soft_tokens is ", max_soft_tokens,
                                                      "; it must be 70, 140, 280, 560 or 1120"));
}

// Whether anybody still waits for the job.
absl::Status CheckWanted(const ImageJob& job) {
  if (job.cancelled()) return absl::CancelledError("the request was cancelled");
  if (absl::Now() >= job.deadline) {
    return absl::DeadlineExceededError("the deadline passed before the picture was encoded");
  }
  return absl::OkStatus();
}

class EncoderImpl final : public Encoder {
 public:
  EncoderImpl(const EncoderOptions& options, std::unique_ptr<gguf::File> file,
              std::unique_ptr<Backend> backend, std::unique_ptr<Vit> tower, Digest fingerprint)
      : options_(options),
        file_(std::move(file)),
        backend_(std::move(backend)),
        tower_(std::move(tower)),
        info_{.model_name = tower_->config().name,
              .backend = backend_->Name(),
              .fingerprint = fingerprint,
              .dim = tower_->config().projection_dim,
              .has_image_tower = true},
        worker_([this] { Work(); }) {}
  ~EncoderImpl() override { Shutdown(); }

  void EncodeImage(ImageJob job, ImageDone done) override;
  const EncoderInfo& info() const override { return info_; }
  EncoderLoadFigures load() const override;
  void Shutdown() override;

 private:
  struct Waiting {
    ImageJob job;
    ImageDone done;
    absl::Time since;
  };

  absl::Status Enqueue(ImageJob& job, ImageDone& done);
  // Waits for a job; none once all are done after Shutdown.
  std::optional<Waiting> Take();
  void Work();
  absl::StatusOr<EncodedImage> Encode(ImageJob job, absl::Time since);
  // Fills in what is known before the tower runs.
  absl::StatusOr<Patches> Preprocess(const ImageJob& job, EncodedImage& result) const;

  const EncoderOptions options_;
  const std::unique_ptr<gguf::File> file_;  // the tower reads its position table from it
  const std::unique_ptr<Backend> backend_;
  const std::unique_ptr<Vit> tower_;
  const EncoderInfo info_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> queue_;
  bool encoding_ = false;
  bool stopping_ = false;
  std::once_flag joined_;
  std::thread worker_;  // last: it uses all of the above
};

absl::Status EncoderImpl::Enqueue(ImageJob& job, ImageDone& done) {
  ASSIGN_OR_RETURN(job.max_soft_tokens, Budget(job.max_soft_tokens));
  const std::lock_guard lock(mutex_);
  if (stopping_) {
    return MakeError(absl::StatusCode::kUnavailable, "the encoder is shutting down",
                     {.reason = "DRAINING", .retry_after = kRetryDelay});
  }
  if (static_cast<int>(queue_.size()) >= options_.max_queue) {
    return MakeError(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat("the encoder's queue is full (", options_.max_queue, " pictures wait)"),
        {.reason = "QUEUE_FULL", .retry_after = kRetryDelay});
  }
  queue_.push_back({std::move(job), std::move(done), absl::Now()});
  changed_.notify_one();
  return absl::OkStatus();
}

void EncoderImpl::EncodeImage(ImageJob job, ImageDone done) {
  const absl::Status status = Enqueue(job, done);
  if (!status.ok()) done(status);
}

EncoderLoadFigures EncoderImpl::load() const {
  const std::lock_guard lock(mutex_);
  return {.queued = static_cast<int>(queue_.size()), .encoding = encoding_ ? 1 : 0};
}

void EncoderImpl::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  std::call_once(joined_, [this] { worker_.join(); });
}

std::optional<EncoderImpl::Waiting> EncoderImpl::Take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
  if (queue_.empty()) return std::nullopt;
  Waiting next = std::move(queue_.front());
  queue_.pop_front();
  encoding_ = true;
  return next;
}

void EncoderImpl::Work() {
  while (std::optional<Waiting> next = Take()) {
    absl::StatusOr<EncodedImage> result = Encode(std::move(next->job), next->since);
    {
      // Before the answer: whoever has it sees an idle encoder.
      const std::lock_guard lock(mutex_);
      encoding_ = false;
    }
    next->done(std::move(result));
  }
}

absl::StatusOr<Patches> EncoderImpl::Preprocess(const ImageJob& job, EncodedImage& result) const {
  const VisionConfig& config = tower_->config();
  ASSIGN_OR_RETURN(
      Picture picture,
      DecodeImage(job.data, job.mime_type, {options_.max_media_bytes, options_.max_image_pixels}));
  result.source_width = picture.width;
  result.source_height = picture.height;
  ASSIGN_OR_RETURN(
      const PictureSize size,
      TargetSize(picture.width, picture.height, job.max_soft_tokens, config.patch, config.pool));
  RETURN_IF_ERROR(tower_->CheckGrid(size.width / config.patch, size.height / config.patch));
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
  result.content_digest = ContentDigest(job.data, job.max_soft_tokens, info_.fingerprint);
  job.data = {};
  const absl::Time preprocessed = absl::Now();

  result.rows = result.grid_rows * result.grid_columns;
  result.timings = {.queued = start - since, .preprocess = preprocessed - start};
  if (job.header_only) return result;
  RETURN_IF_ERROR(CheckWanted(job));
  ASSIGN_OR_RETURN(auto soft_tokens, tower_->Encode(absl::MakeConstSpan(&patches, 1)));
  result.values = std::move(soft_tokens[0]);
  if (!std::all_of(result.values.begin(), result.values.end(),
                   [](float value) { return std::isfinite(value); })) {
    return MakeError(absl::StatusCode::kInternal, "the image tower gave values that are not finite",
                     {.reason = "NOT_FINITE"});
  }
  result.timings.forward = absl::Now() - preprocessed;
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> Encoder::Load(const EncoderOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<gguf::File> file, gguf::File::Open(options.mmproj_path));
  // Before the whole file is read: it may be one of another kind.
  RETURN_IF_ERROR(VisionConfig::FromGguf(*file).status());
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, MakeBackend(options.backend));
  const std::string version = absl::StrCat(kVersion, options.quick_gelu ? ", quick gelu" : "");
  // Next to packing: both mostly wait for the disk.
  std::future<Digest> fingerprint =
      std::async(std::launch::async, [&] { return Fingerprint(*file, version); });
  ASSIGN_OR_RETURN(std::unique_ptr<Vit> tower,
                   Vit::Load(*file, *backend, options.quick_gelu ? Gelu::kQuick : Gelu::kTanh));
  const Digest digest = fingerprint.get();
  return std::make_unique<EncoderImpl>(options, std::move(file), std::move(backend),
                                       std::move(tower), digest);
}

}  // namespace softsplice
