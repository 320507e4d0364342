// See mono.h.
#include "encoder_svc/audio/mono.h"

#include <soxr.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/audio/mel.h"

namespace softsplice {
namespace {

constexpr int kMinRate = 1000;
constexpr int kMaxRate = 768'000;
constexpr int kMaxChannels = 64;
// Of the resampler's output, at a time.
constexpr size_t kOutBlock = 16384;

absl::Status CheckChannels(int channels) {
  if (channels >= 1 && channels <= kMaxChannels) return absl::OkStatus();
  return InvalidMedia(
      absl::StrCat("the sound has ", channels, " channels; 1 to ", kMaxChannels, " can be read"));
}

}  // namespace

absl::StatusOr<MonoSink> MonoSink::Make(int64_t rate, int channels, const SoundLimits& limits) {
  if (rate < kMinRate || rate > kMaxRate) {
    return InvalidMedia(absl::StrCat("the sound's sample rate is ", rate, " Hz; ", kMinRate, " to ",
                                     kMaxRate, " Hz can be read"));
  }
  RETURN_IF_ERROR(CheckChannels(channels));
  MonoSink sink(static_cast<int>(rate), channels, limits);
  if (rate != kSampleRate && sink.resampler_ == nullptr) {
    return OutOfMemory("no memory for a resampler");
  }
  return sink;
}

MonoSink::MonoSink(int rate, int channels, const SoundLimits& limits)
    : rate_(rate), channels_(channels), limits_(limits), resampler_(nullptr, &soxr_delete) {
  if (rate == kSampleRate) return;
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  resampler_.reset(soxr_create(rate, kSampleRate, 1, nullptr, nullptr, &quality, nullptr));
}

absl::Status MonoSink::SetChannels(int channels) {
  RETURN_IF_ERROR(CheckChannels(channels));
  channels_ = channels;
  return absl::OkStatus();
}

absl::Status MonoSink::CheckLength(int64_t samples) const {
  // In seconds as double: a file may claim any number of samples.
  const double seconds = static_cast<double>(samples) / rate_;
  const double most_seconds = absl::ToDoubleSeconds(limits_.max_duration);
  if (seconds > most_seconds) {
    return OverLimit(
        "data", absl::StrCat("the sound is longer than allowed: ", std::ceil(seconds),
                             " s at least; at most ", absl::FormatDuration(limits_.max_duration),
                             " is allowed"));
  }
  const double all = static_cast<double>(samples) * channels_;
  const double most = most_seconds * static_cast<double>(kMaxSamplesPerSecond);
  if (all <= most) return absl::OkStatus();
  return OverLimit(
      "data", absl::StrFormat("the sound has %.0f samples at least (%d channels at %d Hz); at most "
                              "%.0f are allowed",
                              all, channels_, rate_, most));
}

int64_t MonoSink::OutputSamples(int64_t samples) const {
  return (samples * kSampleRate + rate_ - 1) / rate_;
}

void MonoSink::Reserve(int64_t samples) {
  out_.reserve(static_cast<size_t>(OutputSamples(samples)) + kOutBlock);
}

absl::Status MonoSink::Add(absl::Span<const float> interleaved) {
  const auto channels = static_cast<size_t>(channels_);
  const size_t frames = interleaved.size() / channels;
  RETURN_IF_ERROR(limits_.go_on());
  added_ += static_cast<int64_t>(frames);
  RETURN_IF_ERROR(CheckLength(added_));
  mono_.resize(frames);
  const float* in = interleaved.data();
  for (float& out : mono_) {
    double sum = 0;
    for (size_t c = 0; c < channels; ++c) sum += *in++;
    out = static_cast<float>(sum / channels_);
    if (!std::isfinite(out)) {
      return InvalidMedia("the sound has samples that are infinite or not a number (NaN)");
    }
  }
  if (resampler_ != nullptr) return Resample(mono_);
  out_.insert(out_.end(), mono_.begin(), mono_.end());
  return absl::OkStatus();
}

// No samples: the end of the input.
absl::Status MonoSink::Resample(absl::Span<const float> mono) {
  const bool end = mono.empty();
  for (;;) {
    const size_t have = out_.size();
    out_.resize(have + kOutBlock);
    size_t taken = 0, made = 0;
    const soxr_error_t error = soxr_process(resampler_.get(), end ? nullptr : mono.data(),
                                            mono.size(), &taken, &out_[have], kOutBlock, &made);
    out_.resize(have + made);
    if (error != nullptr) return absl::InternalError(absl::StrCat("resampling failed: ", error));
    mono.remove_prefix(taken);
    if (mono.empty() && made < kOutBlock) return absl::OkStatus();
  }
}

absl::StatusOr<std::vector<float>> MonoSink::Finish() {
  if (resampler_ != nullptr) {
    if (added_ > 0) RETURN_IF_ERROR(Resample({}));
    out_.resize(static_cast<size_t>(OutputSamples(added_)));
  }
  if (!std::all_of(out_.begin(), out_.end(), [](float x) { return std::isfinite(x); })) {
    return InvalidMedia("the sound has samples that are too large to be resampled");
  }
  return std::move(out_);
}

}  // namespace softsplice
