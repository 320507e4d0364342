// The steps of a picture: its headers at once, pixels on a decoder's thread, the tower.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/time/steady.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/guarded.h"
#include "encoder_svc/image/decode.h"

namespace softsplice {
namespace {

constexpr int kBudgets[] = {70, 140, 280, 560, kMostSoftTokens};
constexpr int kDefaultBudget = 280;

absl::StatusOr<int> Budget(int max_soft_tokens) {
  if (max_soft_tokens == 0) return kDefaultBudget;
  if (std::find(std::begin(kBudgets), std::end(kBudgets), max_soft_tokens) != std::end(kBudgets)) {
    return max_soft_tokens;
  }
  return InvalidField("max_soft_tokens", absl::StrCat("max_soft_tokens is ", max_soft_tokens,
                                                      "; it must be 70, 140, 280, 560 or 1120"));
}

uint64_t PixelBytes(int width, int height) {
  return uint64_t{3} * static_cast<uint64_t>(width) * static_cast<uint64_t>(height);
}

// Patches of a picture of this size: a float for each byte, and where each patch is.
uint64_t PatchBytes(PictureSize size) {
  constexpr uint64_t kBytesPerByte = 5;
  return kBytesPerByte * PixelBytes(size.width, size.height);
}

// From the file to the patches, at most: the decoder's; the picture, half resized and resized; the
// resized one and its patches.
uint64_t PreparingBytes(const ImageHeader& header, PictureSize size) {
  const uint64_t resized = PixelBytes(size.width, size.height);
  return std::max({header.decoding_bytes,
                   PixelBytes(header.width, header.height) +
                       PixelBytes(size.width, header.UprightHeight()) + resized,
                   resized + PatchBytes(size)});
}

}  // namespace

struct EncoderImpl::ImageOnItsWay final : Medium {
  ImageOnItsWay(ImageJob its_job, ImageDone its_done)
      : Medium(its_job.cancel, its_job.deadline),
        job(std::move(its_job)),
        done(std::move(its_done)) {}

  void Tell(const absl::Status& end) override { done(end); }
  Digest ContentDigest(const Digest& fingerprint) const {
    return softsplice::ContentDigest(job.data, absl::StrCat("image:", job.max_soft_tokens),
                                     fingerprint);
  }

  ImageJob job;
  const ImageDone done;
  ImageHeader header;
  PictureSize size;  // of the resized picture
  Patches patches;
  EncodedImage result;
};

void EncoderImpl::EncodeImage(ImageJob job, ImageDone done) {
  const auto image = std::make_shared<ImageOnItsWay>(std::move(job), std::move(done));
  const absl::Status status = Guarded([&] { return BeginImage(image); });
  if (!status.ok()) image->done(status);
}

absl::Status EncoderImpl::BeginImage(const SharedImage& image) {
  if (models_->image() == nullptr) return NoTower("image");
  RETURN_IF_ERROR(image->CheckWanted());
  RETURN_IF_ERROR(PlanImage(*image));
  if (image->job.header_only) {
    image->result.content_digest = image->ContentDigest(info_.fingerprint);
    image->done(std::move(image->result));
    return absl::OkStatus();
  }
  const uint64_t bytes = PreparingBytes(image->header, image->size);
  RETURN_IF_ERROR(CheckMemory("picture", bytes));
  return pipeline_.Decode(image, Tower::kImage, image->result.rows, bytes,
                          [this, image] { return PrepareImage(image); });
}

absl::Status EncoderImpl::PlanImage(ImageOnItsWay& image) const {
  ImageJob& job = image.job;
  const VisionConfig& config = models_->image()->config();
  ASSIGN_OR_RETURN(job.max_soft_tokens, Budget(job.max_soft_tokens));
  ASSIGN_OR_RETURN(image.header,
                   ReadImageHeader(job.data, job.mime_type,
                                   {options_.max_media_bytes, options_.max_image_pixels}));
  const int width = image.header.UprightWidth(), height = image.header.UprightHeight();
  ASSIGN_OR_RETURN(image.size,
                   TargetSize(width, height, job.max_soft_tokens, config.patch, config.pool));
  const PictureSize size = image.size;
  RETURN_IF_ERROR(
      models_->image()->CheckGrid(size.width / config.patch, size.height / config.patch));
  const int grid_rows = size.height / (config.patch * config.pool);
  const int grid_columns = size.width / (config.patch * config.pool);
  image.result = {.rows = grid_rows * grid_columns,
                  .dim = info_.dim,
                  .grid_rows = grid_rows,
                  .grid_columns = grid_columns,
                  .source_width = width,
                  .source_height = height,
                  .resized_width = size.width,
                  .resized_height = size.height,
                  .max_soft_tokens = job.max_soft_tokens};
  return absl::OkStatus();
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::PrepareImage(const SharedImage& image) {
  const absl::Duration start = SteadyNow();
  ASSIGN_OR_RETURN(Picture picture, DecodeImage(image->job.data, image->header));
  RETURN_IF_ERROR(image->CheckWanted());
  picture = ResizeBicubic(picture, image->size);
  image->patches = MakePatches(picture, models_->image()->config().patch);
  image->result.content_digest = image->ContentDigest(info_.fingerprint);
  std::string().swap(image->job.data);
  image->memory.ShrinkTo(PatchBytes(image->size));
  image->result.timings.preprocess = SteadyNow() - start;
  return [this, image] { pipeline_.Encode(image, [this, image] { return RunImage(image); }); };
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::RunImage(const SharedImage& image) {
  EncodedImage& result = image->result;
  const absl::Duration start = SteadyNow();
  absl::StatusOr<std::vector<float>> values = models_->Encode(image->patches);
  passes_.Note(values.status());
  RETURN_IF_ERROR(values.status());
  result.values = *std::move(values);
  result.timings.forward = SteadyNow() - start;
  result.timings.queued = image->queued;
  pipeline_.backlog().Measured(Tower::kImage, result.rows, result.timings.forward);
  image->patches = {};
  image->Release();
  return [image] { image->done(std::move(image->result)); };
}

}  // namespace softsplice
