// What an encoder counts.
#pragma once

#include "absl/status/status.h"
#include "common/server/metrics.h"
#include "common/server/service_metrics.h"
#include "encoder_svc/encoder.h"

namespace softsplice {

struct EncoderContext;

// Of media of one kind. Thread-safe.
class MediaMetrics {
 public:
  // `kind`: "image", "audio" or "video"; `method`: that encodes it.
  MediaMetrics(Metrics& metrics, const char* kind, const char* method);

  // A medium that was encoded, or whose rows were there, and what it took until then.
  void OnEncoded(const EncodeTimings& timings, int rows) const;
  // From there on, until all its rows were handed to the client's connection.
  void OnSent(absl::Duration took) const;
  // One that was not. Only a medium that is at fault itself counts.
  void OnRefused(const absl::Status& status) const;

 private:
  enum class Stage { kQueue, kPreprocess, kForward, kSend };
  enum class Fault { kInvalid, kOverLimit, kNoTower };
  const Histograms<Stage> encode_seconds_;
  prometheus::Histogram& queue_seconds_;
  prometheus::Counter& rows_;
  const Counters<Fault> rejected_;
};

// Handles for those who have something to count.
struct EncoderMetrics {
  explicit EncoderMetrics(Metrics& metrics);

  const MediaMetrics images, sounds, videos;
  const DeviceErrors device_errors;
};

// Tells what an encoder is like whenever somebody asks. `load`: how long it took. `context`
// outlives it.
Metrics::Source AddEncoderFigures(Metrics& metrics, const EncoderContext& context,
                                  absl::Duration load);

}  // namespace softsplice
