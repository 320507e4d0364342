// One request in the engine, from Submit to OnDone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/engine/sampler.h"
#include "decoder_svc/kv/kv_manager.h"

namespace softsplice {

// Only the engine's thread touches it once it is queued.
struct Sequence {
  Engine::Handle handle = 0;
  EngineRequest request;
  Priority priority = Priority::kNormal;
  bool ahead = false;  // it reads a prompt's beginning, and that is all
  std::shared_ptr<TokenSink> sink;
  Sampler sampler;
  // The prompt as the trunk reads it, then the answer.
  std::vector<int32_t> tokens;
  std::vector<Content> contents;  // the same, as the caches know it
  int prompt_tokens = 0;
  int given = 0;  // positions to read: the prompt; after a pause the answer so far, too
  int read = 0;   // positions whose keys and values are in the caches
  std::optional<SequenceKv> kv;  // while it runs
  std::optional<int> cached;     // of the prompt, when it was first admitted
  int pauses = 0;

  int values_missing_to = 0;  // the end of the last run without values: so much must be cached

  // While another one reads what both begin with: it waits until so much is read.
  Engine::Handle leader = 0;
  int leader_reads = 0;

  // On the steady clock.
  absl::Duration submitted;
  absl::Duration admitted;
  absl::Duration give_up = absl::InfiniteDuration();
  std::optional<absl::Duration> held_since;  // its sink has had no room since then
  EngineTimings timings;

  int unread() const { return static_cast<int>(tokens.size()) - read; }
  bool reads() const { return read < given; }
  absl::Span<const Content> contents_read() const {
    return absl::MakeConstSpan(contents).first(static_cast<size_t>(read));
  }
  KvRequest kv_request(int positions) const {
    return {.scope = request.cache_scope,
            .shared = request.share_cache,
            .prompt = absl::MakeConstSpan(contents).first(static_cast<size_t>(given)),
            .positions = positions};
  }
  int completion_tokens() const { return static_cast<int>(tokens.size()) - prompt_tokens; }
};

}  // namespace softsplice
