// What the engine works on in one step.
#pragma once

#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/engine/sampler.h"

namespace softsplice {

// One request from Submit to OnDone. Only the engine's thread touches it once it is queued.
struct Sequence {
  Engine::Handle handle = 0;
  EngineRequest request;
  std::shared_ptr<TokenSink> sink;
  Sampler sampler;
  // The prompt as the trunk reads it, then the answer.
  std::vector<int32_t> tokens;
  int prompt_tokens = 0;
  int read = 0;   // positions whose keys and values are in the caches
  int slot = -1;  // of the KV pool, once admitted

  // On the steady clock.
  absl::Duration submitted;
  absl::Duration admitted;
  absl::Duration give_up = absl::InfiniteDuration();
  EngineTimings timings;

  int unread() const { return static_cast<int>(tokens.size()) - read; }
  int completion_tokens() const { return static_cast<int>(tokens.size()) - prompt_tokens; }
};

// The next `rows` unread tokens of a sequence.
struct Work {
  Sequence* sequence = nullptr;
  int rows = 0;
};

// Every sequence that writes gets its one row, so that no prompt holds an answer up; prompts share
// `chunk` rows, oldest (first) first.
void PickWork(absl::Span<const std::unique_ptr<Sequence>> running, int chunk,
              std::vector<Work>& work);

}  // namespace softsplice
