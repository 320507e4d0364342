#include "decoder_svc/server/metrics.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/escaping.h"
#include "decoder_svc/server/context.h"

namespace softsplice {
namespace {

constexpr Family kStepSeconds = {"softsplice_engine_step_seconds", "Duration of a step",
                                 kStepEdges};
constexpr Family kBatchRows = {"softsplice_batch_rows", "Rows of a step, of all requests",
                               kSizeEdges};
constexpr Family kTimeToFirstToken = {"softsplice_time_to_first_token_seconds",
                                      "From a request's headers to its first token", kWaitEdges};
constexpr Family kPrefill = {"softsplice_prefill_seconds",
                             "From a request's turn to its first token", kWaitEdges};
constexpr Family kInterToken = {"softsplice_inter_token_seconds", "Between two tokens of an answer",
                                kStepEdges};
constexpr Family kTimePerOutputToken = {"softsplice_time_per_output_token_seconds",
                                        "Mean time between tokens of an answer that ended",
                                        kStepEdges};
constexpr Family kPromptTokensTotal = {"softsplice_prompt_tokens_total",
                                       "Tokens of prompts whose turn came, soft tokens included"};
constexpr Family kCachedPromptTokensTotal = {"softsplice_cached_prompt_tokens_total",
                                             "Those of them that were in the cache"};
constexpr Family kOutputTokensTotal = {"softsplice_output_tokens_total",
                                       "Tokens that were written"};
constexpr Family kFinished = {"softsplice_finished_total", "Answers that are complete"};
constexpr Family kPromptTokens = {"softsplice_prompt_tokens", "Tokens of a prompt", kSizeEdges};
constexpr Family kOutputTokens = {"softsplice_output_tokens", "Tokens of an answer", kSizeEdges};
constexpr Family kRetries = {"softsplice_encoder_retries_total",
                             "Media that went to an encoder again, by what the last one was"};
constexpr Family kEncodeWait = {"softsplice_encode_wait_seconds",
                                "From a medium's coming up to its soft tokens", kWaitEdges};
constexpr Family kKvBytes = {"softsplice_kv_bytes",
                             "Keys and values of running requests, and those kept for later ones"};
constexpr Family kKvCapacity = {"softsplice_kv_capacity_bytes", "Keys and values that fit"};
constexpr Family kMissedTokens = {
    "softsplice_prefix_cache_missed_tokens_total",
    "Tokens of prompts that were read, by why they were not in the cache"};
constexpr Family kEvictions = {"softsplice_prefix_cache_evictions_total",
                               "What made room in the cache"};
constexpr Family kResumePoints = {"softsplice_prefix_cache_resume_points",
                                  "Places in prompts and answers where later prompts can go on"};
constexpr Family kSessions = {"softsplice_sessions", "Sessions that there are"};
constexpr Family kTargets = {"softsplice_encoder_targets", "Encoders, by what they are like"};

constexpr const char* kStages[] = {"prefill", "decode"};
constexpr const char* kModalities[] = {"text", "image", "audio", "video", "mixed"};
constexpr const char* kChannels[] = {"answer", "thought"};
constexpr const char* kFinishes[] = {"stop", "stop_string", "max_tokens", "context_full",
                                     "tool_call"};
constexpr const char* kRetryReasons[] = {"full", "failing", "away", "foreign"};
constexpr const char* kMediaKinds[] = {"image", "audio", "video"};

struct TargetState {
  v1::EncoderState state;
  const char* label;
};
constexpr TargetState kTargetStates[] = {{v1::ENCODER_STATE_HEALTHY, "healthy"},
                                         {v1::ENCODER_STATE_FULL, "full"},
                                         {v1::ENCODER_STATE_FAILING, "failing"},
                                         {v1::ENCODER_STATE_AWAY, "away"},
                                         {v1::ENCODER_STATE_FOREIGN, "foreign"}};

void TellEncoders(const EncoderPool& encoders, Readings& to) {
  std::map<v1::EncoderState, int> counts;
  for (const EncoderTargetInfo& target : encoders.targets()) ++counts[target.state];
  for (const TargetState& state : kTargetStates) {
    to.Gauge(kTargets, counts[state.state], {{"state", state.label}});
  }
}

void TellCache(const CacheCounts& cache, Readings& to) {
  const auto count = [&](const Family& family, const char* label, const char* value, int64_t of) {
    to.Counter(family, static_cast<double>(of), {{label, value}});
  };
  count(kMissedTokens, "reason", "new", cache.missed_new);
  count(kMissedTokens, "reason", "evicted", cache.missed_evicted);
  count(kMissedTokens, "reason", "window", cache.missed_window);
  count(kEvictions, "kind", "block", cache.evicted_blocks);
  count(kEvictions, "kind", "resume_point", cache.evicted_resume_points);
  to.Gauge(kResumePoints, static_cast<double>(cache.resume_points));
}

}  // namespace

DecoderMetrics::DecoderMetrics(Metrics& metrics)
    : step_seconds(metrics, kStepSeconds, "stage", kStages),
      batch_rows(metrics, kBatchRows, "stage", kStages),
      device_errors(metrics),
      queue_seconds(metrics.Add<prometheus::Histogram>(kQueueSeconds, {{"method", "Generate"}})),
      time_to_first_token(metrics, kTimeToFirstToken, "modality", kModalities),
      prefill(metrics, kPrefill, "modality", kModalities),
      inter_token(metrics, kInterToken, "modality", kModalities),
      time_per_output_token(metrics, kTimePerOutputToken, "modality", kModalities),
      prompt_tokens_total(metrics.Add<prometheus::Counter>(kPromptTokensTotal)),
      cached_prompt_tokens_total(metrics.Add<prometheus::Counter>(kCachedPromptTokensTotal)),
      prompt_tokens(metrics.Add<prometheus::Histogram>(kPromptTokens)),
      output_tokens(metrics.Add<prometheus::Histogram>(kOutputTokens)),
      output_tokens_total(metrics, kOutputTokensTotal, "channel", kChannels),
      finished(metrics, kFinished, "reason", kFinishes),
      encoder_retries(metrics, kRetries, "reason", kRetryReasons),
      encode_wait(metrics, kEncodeWait, "kind", kMediaKinds) {}

void DecoderMetrics::OnStep(const StepReport& step) const {
  device_errors.Note(step.status);
  if (!step.status.ok()) return;
  const StepStage stage = step.prompt_rows > 0 ? StepStage::kPrefill : StepStage::kDecode;
  Observe(step_seconds[stage], step.took);
  batch_rows[stage].Observe(step.rows);
}

void DecoderMetrics::OnRetry(Blame why) const {
  switch (why) {
    case Blame::kFull:
      return encoder_retries[EncoderRetry::kFull].Increment();
    case Blame::kAway:
      return encoder_retries[EncoderRetry::kAway].Increment();
    case Blame::kForeign:
      return encoder_retries[EncoderRetry::kForeign].Increment();
    default:  // a medium at fault is not sent again
      return encoder_retries[EncoderRetry::kFailing].Increment();
  }
}

Metrics::Source AddDecoderFigures(Metrics& metrics, const DecoderContext& context,
                                  int queue_capacity, absl::Duration load) {
  return metrics.AddSource([&context, queue_capacity, load](Readings& to) {
    const Engine& engine = context.engine;
    const EncoderPool* const encoders = context.encoders;
    const EngineLoad now = engine.load();
    Tell({.backend = engine.info().backend,
          .model = engine.info().name,
          .fingerprint = encoders == nullptr ? "" : absl::BytesToHexString(encoders->fingerprint()),
          .load = load,
          .waiting = now.reserved + now.queued,
          .running = now.running,
          .queue_capacity = queue_capacity,
          .last_step = engine.last_step()},
         to);
    to.Gauge(kKvBytes, static_cast<double>(now.kv_bytes_used), {{"state", "used"}});
    to.Gauge(kKvBytes, static_cast<double>(now.kv_bytes_cached), {{"state", "cached"}});
    to.Gauge(kKvCapacity, static_cast<double>(now.kv_bytes_total));
    TellCache(now.cache, to);
    to.Gauge(kSessions, context.sessions.count());
    if (encoders != nullptr) TellEncoders(*encoders, to);
    if (context.devices != nullptr) TellDevices(context.devices->last(), to);
  });
}

}  // namespace softsplice
