// What goes into the engine and what comes out of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace softsplice {

// The model's defaults; 0 temperature is greedy, 0 top_k is off.
struct SamplingOptions {
  float temperature = 1.0f;
  int top_k = 64;
  float top_p = 0.95f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  uint64_t seed = 0;
  // At most as many as the vocabulary has tokens: see FoldBiases.
  std::vector<std::pair<int32_t, float>> logit_bias;
};

// A run of soft tokens at positions [first, first + rows) of a prompt.
struct SoftRun {
  int first = 0;
  int rows = 0;
  // rows * dim numbers; null: those of its name are in the cache.
  std::shared_ptr<const std::vector<float>> values;
  std::string name;  // says all that `values` depends on; empty: nobody else's equal them
};

// A prompt as the trunk reads it. Soft runs are in order and do not overlap; `tokens` at their
// positions is ignored.
struct Prompt {
  std::vector<int32_t> tokens;
  std::vector<SoftRun> soft;
};
// What a token of one takes while its request waits and runs: its number here and in the sequence,
// its content, and the room that vectors have left to grow.
inline constexpr uint64_t kBytesPerPromptToken = 40;

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // natural logarithm, before temperature and filters
};

// One token of an answer.
struct SampledToken {
  TokenLogprob chosen;
  std::vector<TokenLogprob> alternatives;  // best first; as many as the request asked for
};

enum class EngineFinish : uint8_t {
  kStopToken,  // the model ended its turn; the stop token itself is not reported
  kSink,       // the sink asked to stop
  kMaxTokens,
  kContextFull,
};

struct EngineTimings {
  absl::Duration queued;
  absl::Duration prefill;
  absl::Duration time_to_first_token;  // from Submit
  absl::Duration total;
};

struct EngineResult {
  EngineFinish finish = EngineFinish::kStopToken;
  int32_t stop_token = -1;  // with kStopToken
  int cached_tokens = 0;    // of the prompt, that were not read
  int completion_tokens = 0;
  int pauses = 0;  // how often others needed its memory
  EngineTimings timings;
};

// What a request hears. All calls come from the engine's thread, in order, and must not block.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  // Its turn has come; so many of its prompt tokens are in a cache and need not be read.
  virtual void OnAdmitted(int /*cached*/) {}
  // Prompt tokens read so far. After a pause they are read again, as far as no cache has them.
  virtual void OnPrefill(int /*read*/, int /*total*/) {}
  // Whether there is room for more tokens; asked again and again while the answer is written. As
  // long as there is none, the sequence is held: it keeps its memory and gets no rows.
  virtual bool HasRoom() { return true; }
  // It is paused: others need its memory, and it waits until all that it has so far and some more
  // fits. OnPrefill tells that it goes on.
  virtual void OnPaused() {}
  // Returns whether to go on.
  virtual bool OnToken(const SampledToken& token) = 0;
  // The last call: a result, or why there is none (CANCELLED, DEADLINE_EXCEEDED, INTERNAL,
  // UNAVAILABLE, ABORTED where a run without values is not in the cache or what was read ahead gave
  // way to others, or RESOURCE_EXHAUSTED
  // (CLIENT_TOO_SLOW) after max_hold without room).
  virtual void OnDone(absl::StatusOr<EngineResult> result) = 0;
};

// Who goes first: batch requests take what normal ones leave.
enum class Priority : uint8_t { kNormal, kBatch };

struct EngineRequest {
  std::string client;  // whose share of the engine it takes
  // What is read is shared with requests of the same scope, unless it is not to be shared at all.
  std::string cache_scope;
  bool share_cache = true;
  Prompt prompt;
  SamplingOptions sampling;
  int max_tokens = 0;  // 0: until the model stops or the context is full
  int alternatives = 0;
  bool ignore_stop_tokens = false;                       // for measuring
  absl::Duration time_limit = absl::InfiniteDuration();  // from Submit to the end of the answer
};

}  // namespace softsplice
