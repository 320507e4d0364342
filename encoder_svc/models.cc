#include "encoder_svc/models.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

// Adds a zero for each number, or what is no number for one that is not finite: without a branch
// for each, and as many sums as a vector register holds.
bool AreFinite(const std::vector<float>& values) {
  constexpr size_t kSums = 8;
  float sums[kSums] = {};
  size_t i = 0;
  for (; i + kSums <= values.size(); i += kSums) {
    for (size_t j = 0; j < kSums; ++j) sums[j] += values[i + j] * 0;
  }
  for (; i < values.size(); ++i) sums[0] += values[i] * 0;
  return std::accumulate(std::begin(sums), std::end(sums), 0.0f) == 0;
}

absl::Status CheckFinite(const std::vector<float>& values, absl::string_view tower) {
  if (AreFinite(values)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInternal,
                   absl::StrCat("the ", tower, " tower gave values that are not finite"),
                   {.reason = reason::kModelNotFinite});
}

// Not all alike, as in any picture.
Patches SmallPicture(const VisionConfig& config) {
  constexpr int kSoftTokensAlongASide = 3;
  const int side = kSoftTokensAlongASide * config.pool * config.patch;
  Picture picture(side, side);
  for (size_t i = 0; i < picture.rgb.size(); ++i) picture.rgb[i] = static_cast<uint8_t>(37 * i);
  return MakePatches(picture, config.patch);
}

// As many as go together, of as many rows as there may be.
std::vector<Patches> LargestPictures(const VisionConfig& config, int count) {
  constexpr int kColumns = 35;
  static_assert(kMostSoftTokens % (kColumns * kMostTogether) == 0);
  const int side = config.pool * config.patch;
  const Picture picture(kColumns * side, kMostSoftTokens / kColumns / count * side);
  return std::vector<Patches>(static_cast<size_t>(count), MakePatches(picture, config.patch));
}

MelFrames LongestSound() {
  const int frames = MelFrameCount(kSegmentSamples);
  return {frames, std::vector<float>(static_cast<size_t>(frames) * kMelBins)};
}

// A second of a tone.
MelFrames ShortSound(MelFloor floor) {
  std::vector<float> samples(kSampleRate);
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i] = 0.1f * std::sin(0.2f * static_cast<float>(i));
  }
  return LogMel(samples, floor);
}

template <class Encode>
absl::Status TryOne(Backlog& backlog, Tower tower, int dim, Encode encode) {
  const absl::Duration start = SteadyNow();
  ASSIGN_OR_RETURN(const std::vector<float> rows, encode());
  backlog.Measured(tower, static_cast<int>(rows.size()) / dim, SteadyNow() - start);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Models> Models::Load(const gguf::File& file, Towers towers, Backend& backend,
                                    const EncoderOptions& options) {
  Models models;
  if (towers.image) {
    ASSIGN_OR_RETURN(models.image_,
                     Vit::Load(file, backend, options.quick_gelu ? Gelu::kQuick : Gelu::kTanh));
  }
  if (towers.audio) {
    ASSIGN_OR_RETURN(models.audio_, Conformer::Load(file, backend));
  }
  if (models.image_ == nullptr || models.audio_ == nullptr) return models;
  const int image_dim = models.image_->config().projection_dim,
            audio_dim = models.audio_->config().projection_dim;
  if (image_dim == audio_dim) return models;
  return InvalidFile(file.path(), absl::StrCat("soft tokens of pictures have ", image_dim,
                                               " numbers and those of sounds ", audio_dim));
}

EncoderInfo Models::Info(const Digest& fingerprint) const {
  return {.model_name = image_ ? image_->config().name : audio_->config().name,
          .fingerprint = fingerprint,
          .dim = image_ ? image_->config().projection_dim : audio_->config().projection_dim,
          .has_image_tower = image_ != nullptr,
          .has_audio_tower = audio_ != nullptr};
}

absl::StatusOr<Footprint> Models::Measure(const CountingBackend& counter) {
  if (image_ != nullptr) {
    for (const int count : {1, kMostTogether}) {
      RETURN_IF_ERROR(image_->Encode(LargestPictures(image_->config(), count)).status());
    }
  }
  if (audio_ != nullptr) RETURN_IF_ERROR(audio_->Encode({LongestSound()}).status());
  return counter.footprint();
}

absl::Status Models::Reserve() {
  if (image_ != nullptr) {
    for (const int count : {1, kMostTogether}) {
      RETURN_IF_ERROR(image_->Reserve(LargestPictures(image_->config(), count)));
    }
  }
  return audio_ == nullptr ? absl::OkStatus() : audio_->Reserve({LongestSound()});
}

std::vector<Models::Rows> Models::Encode(absl::Span<const Patches> pictures) {
  auto soft_tokens = image_->Encode(pictures);
  if (!soft_tokens.ok()) return std::vector<Rows>(pictures.size(), soft_tokens.status());
  std::vector<Rows> all;
  for (std::vector<float>& rows : *soft_tokens) {
    const absl::Status finite = CheckFinite(rows, "image");
    all.push_back(finite.ok() ? Rows(std::move(rows)) : Rows(finite));
  }
  return all;
}

Models::Rows Models::Encode(const MelFrames& sound) {
  ASSIGN_OR_RETURN(auto soft_tokens, audio_->Encode(absl::MakeConstSpan(&sound, 1)));
  RETURN_IF_ERROR(CheckFinite(soft_tokens[0], "audio"));
  return std::move(soft_tokens[0]);
}

absl::Status Models::Try(Backlog& backlog) {
  if (image_ != nullptr) {
    const VisionConfig& config = image_->config();
    RETURN_IF_ERROR(TryOne(backlog, Tower::kImage, config.projection_dim,
                           [&] { return std::move(Encode({SmallPicture(config)})[0]); }));
  }
  if (audio_ == nullptr) return absl::OkStatus();
  return TryOne(backlog, Tower::kAudio, audio_->config().projection_dim,
                [&] { return Encode(ShortSound(MelFloor::kAdd)); });
}

}  // namespace softsplice
