// What a decoder counts.
#pragma once

#include "common/server/metrics.h"
#include "common/server/service_metrics.h"
#include "decoder_svc/encoder_pool/blame.h"
#include "decoder_svc/engine/engine_options.h"
#include "decoder_svc/text/chat.h"

namespace softsplice {

struct DecoderContext;

// What a request holds besides its text.
enum class Modality { kText, kImage, kAudio, kVideo, kMixed };
// A step that reads a prompt, whatever else it does; one that only writes.
enum class StepStage { kPrefill, kDecode };
enum class TextChannel { kAnswer, kThought };
// As v1::FinishReason, but for UNSPECIFIED.
enum class Finish { kStop, kStopString, kMaxTokens, kContextFull, kToolCall };
enum class EncoderRetry { kFull, kFailing, kAway, kForeign };

// Handles for those who have something to count. Thread-safe.
struct DecoderMetrics {
  explicit DecoderMetrics(Metrics& metrics);

  // Of a step of the engine, and of a medium that goes to an encoder once more.
  void OnStep(const StepReport& step) const;
  void OnRetry(Blame why) const;

  const Histograms<StepStage> step_seconds, batch_rows;
  const DeviceErrors device_errors;

  prometheus::Histogram& queue_seconds;
  const Histograms<Modality> time_to_first_token, prefill, inter_token, time_per_output_token;
  prometheus::Counter &prompt_tokens_total, &cached_prompt_tokens_total;
  prometheus::Histogram &prompt_tokens, &output_tokens;
  const Counters<TextChannel> output_tokens_total;
  const Counters<Finish> finished;

  const Counters<EncoderRetry> encoder_retries;
  const Histograms<MediaKind> encode_wait;
};

// Tells what a decoder is like whenever somebody asks. `load`: how long it took. `context` outlives
// it.
Metrics::Source AddDecoderFigures(Metrics& metrics, const DecoderContext& context,
                                  int queue_capacity, absl::Duration load);

}  // namespace softsplice
