// Samples of a stream that tells its rate and channels on the way.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "encoder_svc/audio/format.h"
#include "encoder_svc/audio/limits.h"
#include "encoder_svc/audio/mono.h"

namespace softsplice {

// A MonoSink that is made when the first samples come. Not thread-safe.
class StreamSink {
 public:
  // `limits` outlive it. `format` is for messages.
  StreamSink(SoundFormat format, const SoundLimits& limits) : format_(format), limits_(limits) {}

  // What the samples that follow are. The number of channels may change, as they are averaged.
  // INVALID_ARGUMENT: another rate than before, or what MonoSink::Make refuses.
  absl::Status Begin(int64_t rate, int channels);
  // As MonoSink's. After Begin().
  absl::Status CheckLength(int64_t samples) const { return sink_->CheckLength(samples); }
  absl::Status Add(absl::Span<const float> interleaved) { return sink_->Add(interleaved); }
  // Samples per channel so far.
  int64_t added() const { return sink_ ? sink_->added() : 0; }
  bool begun() const { return sink_.has_value(); }

  // The last call. INVALID_ARGUMENT: there was no sample's form, or as MonoSink's.
  absl::StatusOr<std::vector<float>> Finish();

 private:
  const SoundFormat format_;
  const SoundLimits& limits_;
  std::optional<MonoSink> sink_;
};

}  // namespace softsplice
