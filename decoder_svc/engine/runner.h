// Runs the model: builds the ragged batch of a step on the host, uploads it, runs the forward pass,
// downloads the logits. Owns the caches, their blocks and all buffers.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/kv_pool.h"
#include "decoder_svc/engine/request.h"
#include "decoder_svc/model/gemma4.h"

namespace softsplice {

// One sequence's rows of a step: consecutive positions from `first`.
struct StepPart {
  int slot = 0;
  int first = 0;
  absl::Span<const int32_t> tokens;  // one per row; the pad token at soft positions
  absl::Span<const SoftRun> soft;    // by position in the sequence; those outside are left out
  int logit_rows = 0;                // how many of the last rows need logits
};

struct RunnerOptions {
  int context_length = 0;
  int chunk = 0;          // rows of one sequence in one step, at most
  int max_sequences = 1;  // slots
  int max_rows = 0;       // of a step
  int max_logit_rows = 1;
  bool kv_f32 = false;
};

// Not thread-safe. Nothing allocates after Make.
class Runner {
 public:
  // `file` and `backend` outlive the runner. Errors as Gemma4::Load.
  static absl::StatusOr<std::unique_ptr<Runner>> Make(const gguf::File& file, Backend& backend,
                                                      const RunnerOptions& options);

  const Gemma4& model() const { return *model_; }
  KvPool& pool() { return pool_; }
  uint64_t KvBytesTotal() const;
  uint64_t KvBytesUsed() const;

  // Logits of the rows that asked for some, in order, [rows, vocabulary]; they may be overwritten
  // by the caller and are valid until the next call. Parts have different slots, and together at
  // most max_rows rows and max_logit_rows rows of logits. Errors are the backend's.
  absl::StatusOr<absl::Span<float>> Run(absl::Span<const StepPart> parts, const Tap& tap = {});

 private:
  Runner(Backend& backend, std::unique_ptr<Gemma4> model, const RunnerOptions& options);
  absl::Status Allocate();
  void Fill(absl::Span<const StepPart> parts);
  int UploadSoft(absl::Span<const StepPart> parts);
  Step Upload(absl::Span<const StepPart> parts);

  // A vector of indices and its place in the backend's memory.
  struct Indices {
    std::vector<int32_t> host;
    Mat device;
  };
  Mat Send(const Indices& indices);
  RowMap SendRows(const Indices& sequences, const Indices& positions);

  Backend& backend_;
  std::unique_ptr<Gemma4> model_;
  RunnerOptions options_;
  KvPool pool_;
  KvCache cache_;
  std::vector<std::shared_ptr<void>> memory_;
  void* workspace_ = nullptr;
  Mat soft_;
  Indices tokens_, sequences_, positions_, soft_index_;
  Indices tail_sequences_, tail_positions_, tail_index_;
  Indices full_table_, full_blocks_, ring_table_, ring_blocks_;
  std::vector<float> logits_;
};

}  // namespace softsplice
