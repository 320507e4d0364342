// The steps of a picture: its headers at once, pixels on a decoder's thread, the tower.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/time/steady.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/guarded.h"
#include "encoder_svc/image/decode.h"
#include "encoder_svc/shared_rows.h"

namespace softsplice {
namespace {

constexpr int kDefaultBudget = 280;

// From the file to the patches, at most: the decoder's; the picture, half resized and resized; the
// resized one and its patches.
uint64_t PreparingBytes(const ImageHeader& header, PictureSize size) {
  const uint64_t resized = PixelBytes(size.width, size.height);
  return std::max(
      {header.decoding_bytes,
       PixelBytes(header.DecodedWidth(), header.DecodedHeight()) +
           PixelBytes(size.width, std::max(header.DecodedWidth(), header.DecodedHeight())) +
           resized,
       resized + PatchBytes(size)});
}

}  // namespace

PictureSize ResizedSize(const ImageLayout& layout) {
  return {layout.resized_width, layout.resized_height};
}

uint64_t PixelBytes(int width, int height) {
  return uint64_t{3} * static_cast<uint64_t>(width) * static_cast<uint64_t>(height);
}

uint64_t PatchBytes(PictureSize size) {
  constexpr uint64_t kBytesPerByte = 5;  // a float for each, and where each patch is
  return kBytesPerByte * PixelBytes(size.width, size.height);
}

absl::StatusOr<int> EncoderImpl::Budget(int max_soft_tokens, int default_budget) {
  constexpr int kBudgets[] = {70, 140, 280, 560, kMostSoftTokens};
  if (max_soft_tokens == 0) return default_budget;
  if (std::find(std::begin(kBudgets), std::end(kBudgets), max_soft_tokens) != std::end(kBudgets)) {
    return max_soft_tokens;
  }
  return InvalidField("max_soft_tokens", absl::StrCat("max_soft_tokens is ", max_soft_tokens,
                                                      "; it must be 70, 140, 280, 560 or 1120"));
}

absl::StatusOr<ImageLayout> EncoderImpl::LayOutImage(int width, int height, int budget) const {
  const VisionConfig& config = models_->image()->config();
  ASSIGN_OR_RETURN(const PictureSize size,
                   TargetSize(width, height, budget, config.patch, config.pool));
  RETURN_IF_ERROR(
      models_->image()->CheckGrid(size.width / config.patch, size.height / config.patch));
  const int grid_rows = size.height / (config.patch * config.pool);
  const int grid_columns = size.width / (config.patch * config.pool);
  return ImageLayout{.rows = grid_rows * grid_columns,
                     .grid_rows = grid_rows,
                     .grid_columns = grid_columns,
                     .source_width = width,
                     .source_height = height,
                     .resized_width = size.width,
                     .resized_height = size.height,
                     .max_soft_tokens = budget};
}

struct EncoderImpl::ImageOnItsWay final : Medium {
  ImageOnItsWay(std::shared_ptr<CancelToken> token, absl::Duration until, ImagePlan its_plan,
                std::string its_data, SharedRows::Sink sink)
      : Medium(std::move(token), until),
        plan(std::move(its_plan)),
        data(std::move(its_data)),
        to(std::move(sink)) {}

  void Tell(const absl::Status& end) override {
    patches = {};
    timings.queued = queued;
    to.done(end, timings);
  }

  const ImagePlan plan;
  std::string data;
  const SharedRows::Sink to;
  Patches patches;
  EncodeTimings timings;
};

void EncoderImpl::EncodeImage(ImageJob job, ImageDone done) {
  const absl::Status status = Guarded([&] { return BeginImage(job, done); });
  if (!status.ok()) done(status);
}

absl::Status EncoderImpl::BeginImage(ImageJob& job, const ImageDone& done) {
  if (models_->image() == nullptr) return NoTower("image");
  RETURN_IF_ERROR(CheckWanted(*job.cancel, job.deadline));
  ASSIGN_OR_RETURN(ImagePlan plan, PlanImage(job));
  const uint64_t bytes = PreparingBytes(plan.header, ResizedSize(plan.layout));
  if (!job.header_only) RETURN_IF_ERROR(CheckMemory("picture", bytes));
  const auto result =
      std::make_shared<EncodedImage>(EncodedImage{.layout = plan.layout, .dim = info_.dim});
  result->content_digest = ContentDigest(
      job.data, absl::StrCat("image:", plan.layout.max_soft_tokens), info_.fingerprint);
  if (job.header_only) {
    done(std::move(*result));
    return absl::OkStatus();
  }
  SharedRows::Wish wish{.digest = result->content_digest,
                        .bytes = RowBytes(plan.layout.rows),
                        .cancel = job.cancel,
                        .deadline = job.deadline};
  wish.begin = [this, bytes, until = job.deadline, plan = std::move(plan),
                data = std::move(job.data)](auto cancel, SharedRows::Sink sink) mutable {
    const auto image = std::make_shared<ImageOnItsWay>(std::move(cancel), until, std::move(plan),
                                                       std::move(data), std::move(sink));
    return pipeline_.Decode(image, {.rows = image->plan.layout.rows, .bytes = bytes},
                            [this, image] { return PrepareImage(image); });
  };
  wish.to.rows = [result](Values values, const std::function<void()>& /*next*/) {
    result->values = std::move(values);
  };
  wish.to.done = [result, done](const absl::Status& end, const EncodeTimings& timings) {
    result->timings = timings;
    end.ok() ? done(std::move(*result)) : done(end);
  };
  shared_.Read(std::move(wish));
  return absl::OkStatus();
}

absl::StatusOr<EncoderImpl::ImagePlan> EncoderImpl::PlanImage(const ImageJob& job) const {
  ASSIGN_OR_RETURN(const int budget, Budget(job.max_soft_tokens, kDefaultBudget));
  ASSIGN_OR_RETURN(const ImageHeader header,
                   ReadImageHeader(job.data, job.mime_type,
                                   {options_.max_media_bytes, options_.max_image_pixels}));
  ASSIGN_OR_RETURN(const ImageLayout layout,
                   LayOutImage(header.UprightWidth(), header.UprightHeight(), budget));
  return ImagePlan{.header = header, .layout = layout};
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::PrepareImage(const SharedImage& image) {
  const absl::Duration start = SteadyNow();
  const PictureSize size = ResizedSize(image->plan.layout);
  ASSIGN_OR_RETURN(Picture picture, DecodeImage(image->data, image->plan.header));
  RETURN_IF_ERROR(image->CheckWanted());
  picture = ResizeBicubic(picture, size);
  image->patches = MakePatches(picture, models_->image()->config().patch);
  std::string().swap(image->data);
  image->memory.ShrinkTo(PatchBytes(size));
  image->timings.preprocess = SteadyNow() - start;
  return [this, image] {
    pipeline_.Encode(image, LikeIt(image->plan.layout),
                     [this](const Pipeline::Media& media) { return RunImages(media); });
  };
}

// One picture leaves a device idle for most of its time; it keeps a processor busy.
Pipeline::Alike EncoderImpl::LikeIt(const ImageLayout& layout) const {
  if (info_.devices.empty()) return {};
  return {.kind = uint64_t{1} << 32 | static_cast<uint64_t>(layout.grid_rows) << 16 |
                  static_cast<uint64_t>(layout.grid_columns),
          .together = std::min(kMostTogether, kMostSoftTokens / layout.rows)};
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::RunImages(const Pipeline::Media& media) {
  const absl::Duration start = SteadyNow();
  std::vector<SharedImage> images;
  std::vector<Patches> pictures;
  int rows = 0;
  for (const Pipeline::SharedMedium& medium : media) {
    images.push_back(std::static_pointer_cast<ImageOnItsWay>(medium));
    pictures.push_back(std::move(images.back()->patches));
    rows += images.back()->plan.layout.rows;
  }
  std::vector<Models::Rows> results = models_->Encode(pictures);
  const absl::Duration forward = SteadyNow() - start;
  for (size_t i = 0; i < images.size(); ++i) {
    NotePass(results[i].status());
    images[i]->timings.forward = forward;
    images[i]->Release();
  }
  if (results[0].ok()) pipeline_.backlog().Measured(Tower::kImage, rows, forward);
  return [images = std::move(images), results = std::move(results)]() mutable {
    for (size_t i = 0; i < images.size(); ++i) {
      if (results[i].ok()) images[i]->to.rows(*std::move(results[i]), nullptr);
      images[i]->Tell(results[i].status());
    }
  };
}

}  // namespace softsplice
