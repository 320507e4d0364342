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
#include "decoder_svc/engine/row_logits.h"
#include "decoder_svc/model/gemma4.h"

namespace softsplice {

// One sequence's rows of a step: consecutive positions from `first`.
struct StepPart {
  int slot = 0;
  int first = 0;
  absl::Span<const int32_t> tokens;  // one per row; the pad token at soft positions
  absl::Span<const SoftRun> soft;    // by position in the sequence; those outside are left out
  int logit_rows = 0;                // how many of the last rows need logits
  bool all_logits = false;           // of each of them, not only what is known of the best
};

struct RunnerOptions {
  int context_length = 0;
  int chunk = 0;          // rows of one sequence in one step, at most
  int max_sequences = 1;  // slots
  int max_rows = 0;       // of a step
  int max_logit_rows = 1;
  // Bytes for keys and values; what is over a whole context for each sequence is not taken. 0: 2
  // GiB, or what one sequence of the whole context needs if that is more.
  uint64_t kv_memory = 0;
  bool kv_f32 = false;
};

// Not thread-safe. Nothing allocates after Make.
class Runner {
 public:
  // `file` and `backend` outlive the runner. Errors as Gemma4::Load; INVALID_ARGUMENT: kv_memory
  // does not hold one sequence of the whole context and the windows of the others.
  static absl::StatusOr<std::unique_ptr<Runner>> Make(const gguf::File& file, Backend& backend,
                                                      const RunnerOptions& options);

  const Gemma4& model() const { return *model_; }
  KvPool& pool() { return pool_; }
  uint64_t KvBytesTotal() const { return KvBytes(pool_.shape().full_blocks, pool_.shape().slots); }
  uint64_t KvBytesUsed() const { return KvBytes(pool_.full_blocks_used(), pool_.slots_used()); }

  // What is known of the logits of the rows that asked for some, in order; valid until the next
  // call. Parts have different slots, and together at most max_rows rows and max_logit_rows rows of
  // logits. Errors are the backend's.
  absl::StatusOr<absl::Span<const RowLogits>> Run(absl::Span<const StepPart> parts,
                                                  const Tap& tap = {});

 private:
  // What TopLogits gives of so many rows, side by side.
  struct Top {
    Top(Arena& arena, int rows, int vocabulary);
    Mat ids, values, stats;
  };

  Runner(Backend& backend, std::unique_ptr<Gemma4> model, const RunnerOptions& options,
         const KvPool::Shape& shape);
  uint64_t KvBytes(int full_blocks, int slots) const;
  absl::Status Allocate();
  void Fill(absl::Span<const StepPart> parts);
  int UploadSoft(absl::Span<const StepPart> parts);
  Step Upload(absl::Span<const StepPart> parts);
  void DownloadAll(absl::Span<const StepPart> parts, Mat logits);   // of those that want all
  void Describe(absl::Span<const StepPart> parts, const Top& top);  // fills row_logits_

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
  // Candidates and sums, on the device and here; all logits of the rows that want them.
  void* top_ = nullptr;
  std::vector<char> top_host_;
  std::vector<float> logits_;
  std::vector<RowLogits> row_logits_;
};

}  // namespace softsplice
