// Reads what a prompt begins with while the media behind it are still being encoded.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "common/server/border.h"
#include "decoder_svc/engine/engine.h"

namespace softsplice {

// Of one request, which finds in the engine's cache what was read. It is ended early rather than in
// anybody's way, and then the request reads all of its prompt itself. Thread-safe.
class ReadAhead : public std::enable_shared_from_this<ReadAhead> {
 public:
  // Both outlive it and the requests that it makes.
  ReadAhead(Engine& engine, Border& border) : engine_(engine), border_(border) {}

  // All that is there of the prompt so far; each time it is more. Nothing is read if so little came
  // that it is not worth a request of its own.
  void Read(Priority priority, EngineRequest beginning);
  // Before the whole prompt is submitted, or when there is no need for it any more.
  void Stop();
  // How many of the first `cached` positions were in the cache before any was read ahead.
  int CachedBefore(int cached) const;

 private:
  class Sink;

  Engine& engine_;
  Border& border_;
  mutable std::mutex mutex_;
  bool stopped_ = false;
  int wanted_ = 0;                        // positions, by the last Read
  std::optional<Engine::Handle> handle_;  // of that one
  // Positions [from_, to_) were read; those before were in the cache.
  int from_ = 0;
  int to_ = 0;
};

}  // namespace softsplice
