// What an engine is told at its start.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/time/steady.h"
#include "kernels/backend_options.h"
#include "kernels/load_progress.h"

namespace softsplice {

// One step of the engine, for those who count.
struct StepReport {
  absl::Status status;
  int rows = 0;         // of all sequences
  int prompt_rows = 0;  // of them, those that were read
  absl::Duration took;
};

struct EngineOptions {
  BackendOptions backend;
  // Of "cuda" and "auto": where the model is; of several, up to kMostRanks, each has a part of it.
  std::vector<int> devices = {0};
  // How much longer one of several may take for a step than the others, or for its sums.
  absl::Duration step_limit = absl::Seconds(30);
  int context_length = 8192;  // positions one sequence may hold; at most the model's own
  std::optional<int> chunk;   // prompt rows read in one step, at most; none: see ChunkOn
  // How much longer a step may take for the prompts' sake when somebody waits for the next token.
  absl::Duration stall_target = absl::Milliseconds(300);
  bool kv_f32 = false;  // keep keys and values in float32 instead of float16
  int max_queue = 64;   // places in the queue; one more is refused
  absl::Duration max_wait = absl::Seconds(120);  // expected; whoever would wait longer is refused
  int max_sequences = 8;                         // read or written at once
  uint64_t kv_memory = 0;                        // bytes for keys and values; 0: see RunnerOptions
  absl::Duration max_hold = absl::Seconds(30);   // that a sink may be without room, each time
  std::function<absl::Duration()> clock = SteadyNow;  // of all these times; thread-safe
  OnLoad on_load = [](absl::string_view, int) {};
  // Called after each step, on the engine's thread; must not block.
  std::function<void(const StepReport&)> on_step = [](const StepReport&) {};

  // With a backend of this name: a GPU takes more rows to be busy.
  int ChunkOn(absl::string_view name) const { return chunk.value_or(name == "cuda" ? 2048 : 512); }
};

}  // namespace softsplice
