#include "encoder_svc/server/metrics.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "encoder_svc/server/context.h"

namespace softsplice {
namespace {

constexpr Family kEncodeSeconds = {
    "softsplice_encode_seconds",
    "What a medium took, by stage; what came from the cache has only "
    "waited and been sent",
    kWaitEdges};
constexpr Family kEncodedRows = {"softsplice_encoded_rows_total",
                                 "Soft tokens that were computed, not taken from the cache"};
constexpr Family kRejected = {"softsplice_media_rejected_total",
                              "Media that could not be encoded, by what was wrong with them"};
constexpr Family kBacklog = {"softsplice_encode_backlog_seconds",
                             "How long what waits will keep the encoder busy"};
constexpr Family kHits = {"softsplice_cache_hits_total", "Media that needed no pass of their own"};
constexpr Family kMisses = {"softsplice_cache_misses_total",
                            "Media that did, where there is a cache"};
constexpr Family kCacheBytes = {"softsplice_cache_bytes", "What soft tokens in the cache take"};

constexpr const char* kStages[] = {"queue", "preprocess", "forward", "send"};
constexpr const char* kFaults[] = {"invalid_media", "over_limit", "no_tower"};

}  // namespace

MediaMetrics::MediaMetrics(Metrics& metrics, const char* kind, const char* method)
    : encode_seconds_(metrics, kEncodeSeconds, "stage", kStages, {{"kind", kind}}),
      queue_seconds_(metrics.Add<prometheus::Histogram>(kQueueSeconds, {{"method", method}})),
      rows_(metrics.Add<prometheus::Counter>(kEncodedRows, {{"kind", kind}})),
      rejected_(metrics, kRejected, "reason", kFaults, {{"kind", kind}}) {}

void MediaMetrics::OnEncoded(const EncodeTimings& timings, int rows) const {
  Observe(queue_seconds_, timings.queued);
  Observe(encode_seconds_[Stage::kQueue], timings.queued);
  if (timings.cache_hit) return;
  Observe(encode_seconds_[Stage::kPreprocess], timings.preprocess);
  Observe(encode_seconds_[Stage::kForward], timings.forward);
  rows_.Increment(rows);
}

void MediaMetrics::OnSent(absl::Duration took) const {
  Observe(encode_seconds_[Stage::kSend], took);
}

void MediaMetrics::OnRefused(const absl::Status& status) const {
  const std::string why = GetErrorDetail(status).reason;
  if (why == reason::kInvalidMedia) rejected_[Fault::kInvalid].Increment();
  if (why == reason::kOverLimit) rejected_[Fault::kOverLimit].Increment();
  if (why == reason::kNoTower) rejected_[Fault::kNoTower].Increment();
}

EncoderMetrics::EncoderMetrics(Metrics& metrics)
    : images(metrics, "image", "EncodeImage"),
      sounds(metrics, "audio", "EncodeAudio"),
      videos(metrics, "video", "EncodeVideo"),
      device_errors(metrics) {}

Metrics::Source AddEncoderFigures(Metrics& metrics, const EncoderContext& context,
                                  absl::Duration load) {
  return metrics.AddSource([&context, load](Readings& to) {
    const EncoderInfo& info = context.encoder.info();
    const EncoderLoadFigures now = context.encoder.load();
    const absl::string_view fingerprint(reinterpret_cast<const char*>(info.fingerprint.data()),
                                        info.fingerprint.size());
    Tell({.backend = info.backend,
          .model = info.model_name,
          .fingerprint = absl::BytesToHexString(fingerprint),
          .load = load,
          .waiting = now.queued,
          .running = now.decoding + now.encoding + now.parked,
          .queue_capacity = context.options.max_queue,
          .last_step = context.encoder.last_step()},
         to);
    to.Gauge(kBacklog, absl::ToDoubleSeconds(now.expected_wait));
    to.Counter(kHits, static_cast<double>(now.cache_hits));
    to.Counter(kMisses, static_cast<double>(now.cache_misses));
    to.Gauge(kCacheBytes, static_cast<double>(now.cache_bytes));
    if (context.devices != nullptr) TellDevices(context.devices->last(), to);
  });
}

}  // namespace softsplice
