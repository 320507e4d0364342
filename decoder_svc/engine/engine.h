// The decoder engine: token ids and soft tokens in, token ids out. Plain C++, no gRPC. One engine
// thread owns the model, the KV caches and every running sequence; the methods of Engine are
// thread-safe and only talk to that thread, which waits for nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gguf/file.h"
#include "decoder_svc/engine/engine_options.h"
#include "decoder_svc/engine/request.h"
#include "decoder_svc/kv/cache_counts.h"
#include "kernels/footprint.h"

namespace softsplice {

// What the tokenizer says about single tokens.
struct SpecialTokens {
  std::vector<int32_t> stop;    // end a turn
  std::vector<int32_t> banned;  // are never sampled
  std::vector<int32_t>
      placeholders;  // read as kMediaToken where they come as plain tokens: <|image|> ...
};

struct ModelInfo {
  std::string name;
  std::string backend;
  std::string backend_why;   // that one, for people
  std::vector<int> devices;  // of "cuda"
  Footprint footprint;       // of each device, or of the host
  int dim = 0;
  int vocabulary_size = 0;
  int context_length = 0;  // of this engine
  int max_sequences = 0;   // at once
};

struct EngineLoad {
  int reserved = 0;  // places taken by requests that are not here yet
  int queued = 0;    // here, and waiting
  int paused = 0;    // of those: they had begun, and gave their memory to others
  int running = 0;
  int held = 0;  // of those that run: their sinks have no room
  uint64_t kv_bytes_total = 0;
  uint64_t kv_bytes_used = 0;    // by those that run
  uint64_t kv_bytes_cached = 0;  // by nobody now: kept for later prompts, until there is need
  CacheCounts cache;
  absl::Duration expected_wait;  // of a request that comes now, before it is read
};

class Engine {
 public:
  using Handle = uint64_t;

  // A place in the queue that nobody else can take; given back when it is destroyed. The engine
  // outlives it.
  class Place {
   public:
    Place() = default;  // none
    Place(Place&& other) noexcept
        : engine_(std::exchange(other.engine_, nullptr)), priority_(other.priority_) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(engine_, other.engine_);
      std::swap(priority_, other.priority_);
      return *this;
    }
    ~Place() {
      if (engine_ != nullptr) engine_->GiveBack(priority_);
    }
    Priority priority() const { return priority_; }

   private:
    friend class Engine;
    Place(Engine* engine, Priority priority) : engine_(engine), priority_(priority) {}
    Engine* engine_ = nullptr;
    Priority priority_ = Priority::kNormal;
  };

  // Reads and packs the model of `file` (arch gemma4), reserves the caches, starts the thread. The
  // file may be closed only after the engine is gone. INVALID_ARGUMENT: an option out of range.
  // FAILED_PRECONDITION: not such a model. RESOURCE_EXHAUSTED: memory is short; of a device's,
  // says before any is taken what is needed, what there is, and what helps. INTERNAL
  // (MODEL_NOT_FINITE): what it computes is no number.
  static absl::StatusOr<std::unique_ptr<Engine>> Load(const gguf::File& file,
                                                      const EngineOptions& options,
                                                      SpecialTokens special);
  virtual ~Engine() = default;
  // What the model of `file` takes of a device, or of the host's memory, with these options, whose
  // backend is neither "auto" nor "ref". INVALID_ARGUMENT: an option out of range, or the program
  // was built without CUDA. FAILED_PRECONDITION: not such a model.
  static absl::StatusOr<Footprint> Measure(const gguf::File& file, const EngineOptions& options);

  // Takes a place before anything is spent on a request. RESOURCE_EXHAUSTED (QUEUE_FULL) with the
  // time after which there may be room: no place is free, or the wait is expected to be longer than
  // max_wait or `patience`. Normal requests do not wait for batch ones, which find half of the
  // places. UNAVAILABLE (DRAINING): the engine takes nothing more.
  virtual absl::StatusOr<Place> Reserve(Priority priority = Priority::kNormal,
                                        absl::Duration patience = absl::InfiniteDuration()) = 0;
  // A place anew for a request that was submitted and ended with ABORTED. Never QUEUE_FULL: it was
  // taken, and what it waited for counts. UNAVAILABLE (DRAINING).
  virtual absl::StatusOr<Place> ReserveAgain(Priority priority) = 0;
  // How Reserve would end now, for whoever has not said all of a request yet.
  virtual absl::Status Room(Priority priority, absl::Duration patience) const = 0;
  // Checks and queues a request on a place, whose priority it has. `sink` is called until its
  // OnDone. INVALID_ARGUMENT: empty prompt, id out of range, bad sampling value, soft rows of
  // another width or not finite; OUT_OF_RANGE: longer than the context; UNAVAILABLE (DRAINING).
  // Never QUEUE_FULL.
  virtual absl::StatusOr<Handle> Submit(Place place, EngineRequest request,
                                        std::shared_ptr<TokenSink> sink) = 0;
  // Reads the beginning of a prompt, for a request that has a place and is submitted when the rest
  // is there, to find it in the cache. It takes what all others leave of steps, slots and memory:
  // it ends with ABORTED as soon as one of them needs what it holds. What was read until then, or
  // until it is cancelled, stays in the cache like any prompt. The result has no tokens. Errors as
  // Submit's; INVALID_ARGUMENT where nothing may be shared.
  virtual absl::StatusOr<Handle> ReadAhead(Priority priority, EngineRequest beginning,
                                           std::shared_ptr<TokenSink> sink) = 0;
  // The request ends with CANCELLED within one step; unknown or finished handles are ignored.
  virtual void Cancel(Handle handle) = 0;
  // How many requests are before this one as things stand, those that run included; 0 once its own
  // turn has come. Clients take turns: the one that had least of the engine lately goes first.
  virtual int Position(Handle handle) const = 0;

  virtual const ModelInfo& info() const = 0;
  virtual EngineLoad load() const = 0;
  // The clock when the engine thread last came round (it beats also when idle).
  virtual absl::Duration last_step() const = 0;
  // Not OK, for good, once the device does not recover or several requests in a row failed for no
  // fault of theirs: the engine takes nothing more, and the process had better begin anew.
  virtual absl::Status health() const = 0;

  // Takes no more requests, ends within one step those that wait with UNAVAILABLE (DRAINING) and
  // those that run with UNAVAILABLE (DRAIN_DEADLINE), joins the thread.
  virtual void Shutdown() = 0;

 protected:
  Place MakePlace(Priority priority) { return Place(this, priority); }

 private:
  virtual void GiveBack(Priority priority) = 0;  // one place
};

}  // namespace softsplice
