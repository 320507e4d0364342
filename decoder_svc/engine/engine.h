// The decoder engine: token ids and soft tokens in, token ids out. Plain C++, no gRPC. One engine
// thread owns the model, the KV caches and every running sequence; the methods of Engine are
// thread-safe and only talk to that thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gguf/file.h"
#include "decoder_svc/engine/request.h"
#include "kernels/backend_options.h"

namespace softsplice {

struct EngineOptions {
  BackendOptions backend;
  int context_length = 8192;  // positions one sequence may hold; at most the model's own
  int chunk = 512;            // prompt rows read in one step
  bool kv_f32 = false;        // keep keys and values in float32 instead of float16
  int max_queue = 64;         // requests waiting; one more is refused
  int max_sequences = 1;      // decoded at once; each adds context_length positions of cache
};

struct ModelInfo {
  std::string name;
  std::string backend;
  int dim = 0;
  int vocabulary_size = 0;
  int context_length = 0;  // of this engine
};

struct EngineLoad {
  int queued = 0;
  int running = 0;
  uint64_t kv_bytes_total = 0;
  uint64_t kv_bytes_used = 0;
};

class Engine {
 public:
  using Handle = uint64_t;

  // Reads and packs the model of `file` (arch gemma4), reserves the caches, starts the thread.
  // `stop_tokens` end a turn, `banned_tokens` are never sampled, `pad_token` stands in for soft
  // positions and for the `placeholder_tokens` (<|image|> and the like) that come as plain tokens.
  // The file may be closed only after the engine is gone. INVALID_ARGUMENT: an option out of range.
  // FAILED_PRECONDITION: not such a model. RESOURCE_EXHAUSTED: memory is short.
  static absl::StatusOr<std::unique_ptr<Engine>> Load(const gguf::File& file,
                                                      const EngineOptions& options,
                                                      std::vector<int32_t> stop_tokens,
                                                      std::vector<int32_t> banned_tokens,
                                                      int32_t pad_token,
                                                      std::vector<int32_t> placeholder_tokens = {});
  virtual ~Engine() = default;

  // Checks and queues a request. `sink` is called until its OnDone. INVALID_ARGUMENT: empty prompt,
  // id out of range, bad sampling value, soft rows of another width or not finite; OUT_OF_RANGE:
  // longer than the context; RESOURCE_EXHAUSTED with a retry delay: the queue is full; UNAVAILABLE:
  // shutting down.
  virtual absl::StatusOr<Handle> Submit(EngineRequest request, std::shared_ptr<TokenSink> sink) = 0;
  // The request ends with CANCELLED within one step; unknown or finished handles are ignored.
  virtual void Cancel(Handle handle) = 0;

  virtual const ModelInfo& info() const = 0;
  virtual EngineLoad load() const = 0;
  // When the engine thread last came round (it beats also when idle): the liveness signal.
  virtual absl::Time last_step() const = 0;
  // Takes no more requests, gives those it has until `deadline`, then ends them with UNAVAILABLE;
  // joins the thread.
  virtual void Shutdown(absl::Time deadline) = 0;
};

}  // namespace softsplice
