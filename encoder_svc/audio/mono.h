// Samples of any rate and number of channels to mono at 16 kHz, a block at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "encoder_svc/audio/limits.h"

struct soxr;

namespace softsplice {

// What the official processor does with a file: channels are averaged, libsoxr's high quality
// resamples, and n samples become n * 16000 / rate, rounded up. Not thread-safe.
class MonoSink {
 public:
  // INVALID_ARGUMENT (field "data"): a rate or a number of channels that no recording has.
  // RESOURCE_EXHAUSTED: memory is short.
  static absl::StatusOr<MonoSink> Make(int64_t rate, int channels, const SoundLimits& limits);

  int rate() const { return rate_; }
  int channels() const { return channels_; }
  // Of the samples that follow. INVALID_ARGUMENT as Make's.
  absl::Status SetChannels(int channels);
  // RESOURCE_EXHAUSTED: a sound of so many samples per channel is longer than allowed, or has more
  // samples in all its channels.
  absl::Status CheckLength(int64_t samples) const;
  // What becomes of so many samples per channel.
  int64_t OutputSamples(int64_t samples) const;
  // Makes room for a sound that passed CheckLength.
  void Reserve(int64_t samples);

  // Whole frames of `channels` samples. RESOURCE_EXHAUSTED: longer than allowed by now.
  // INVALID_ARGUMENT: a sample that is infinite or not a number. The limits' go_on may end it.
  absl::Status Add(absl::Span<const float> interleaved);
  // Samples per channel so far.
  int64_t added() const { return added_; }

  // The last call. All samples are finite.
  absl::StatusOr<std::vector<float>> Finish();

 private:
  MonoSink(int rate, int channels, const SoundLimits& limits);
  absl::Status Resample(absl::Span<const float> mono);

  int rate_;
  int channels_;
  SoundLimits limits_;
  int64_t added_ = 0;
  std::vector<float> mono_;  // of one block
  std::vector<float> out_;
  std::unique_ptr<soxr, void (*)(soxr*)> resampler_;  // null: nothing to resample
};

}  // namespace softsplice
