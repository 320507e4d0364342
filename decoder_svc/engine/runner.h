// Runs the model: builds the ragged batch of a step on the host, uploads it, runs the forward pass,
// downloads the logits. Owns the caches, their blocks and all buffers.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/kv_pool.h"
#include "decoder_svc/engine/mirror.h"
#include "decoder_svc/engine/request.h"
#include "decoder_svc/engine/row_logits.h"
#include "decoder_svc/model/gemma4.h"
#include "kernels/arena.h"

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
  // What the rows of a step are.
  struct Rows {
    std::vector<int32_t> tokens, sequences, positions;
    std::vector<int32_t> soft_index;
    std::vector<int32_t> tail_sequences, tail_positions, tail_index;
  };
  // The blocks of each slot.
  struct Pages {
    Pages(Arena& arena, const KvPool::Shape& shape);
    KvPages full, sliding;
  };
  // What TopLogits gives of so many rows.
  struct Top {
    Top(Arena& arena, int rows, int vocabulary);
    Mat ids, values, stats;
  };

  Runner(Backend& backend, std::unique_ptr<Gemma4> model, const RunnerOptions& options,
         const KvPool::Shape& shape);
  uint64_t KvBytes(int full_blocks, int slots) const;
  absl::Status Allocate();
  void Fill(absl::Span<const StepPart> parts);  // rows_
  int UploadSoft(absl::Span<const StepPart> parts);
  Pages UploadPages();
  Step Upload(absl::Span<const StepPart> parts);
  // Whether the step is told by its number of rows: each is a sequence's next token.
  bool OnlyWrites(absl::Span<const StepPart> parts) const;
  void DownloadAll(absl::Span<const StepPart> parts, Mat logits);   // of those that want all
  void Describe(absl::Span<const StepPart> parts, const Top& top);  // fills row_logits_

  Backend& backend_;
  std::unique_ptr<Gemma4> model_;
  RunnerOptions options_;
  KvPool pool_;
  KvCache cache_;
  std::vector<std::shared_ptr<void>> memory_;
  void* workspace_ = nullptr;
  Mat soft_;
  Rows rows_;
  Mirror indices_, pages_, top_;
  uint64_t pages_sent_ = 0;       // as pool_ counts changes
  std::shared_ptr<void> logits_;  // on the host, of the rows that want all
  std::vector<RowLogits> row_logits_;
};

}  // namespace softsplice
