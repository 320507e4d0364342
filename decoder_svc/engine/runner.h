// Runs the model: builds the ragged batch of a step on the host, uploads it, runs the forward pass,
// downloads the logits. Owns the caches and all buffers; who has which block is for others to know.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/mirror.h"
#include "decoder_svc/engine/request.h"
#include "decoder_svc/engine/row_logits.h"
#include "decoder_svc/kv/kv_manager.h"
#include "decoder_svc/model/gemma4.h"
#include "kernels/arena.h"

namespace softsplice {

// One sequence's rows of a step: consecutive positions from `first`.
struct StepPart {
  int slot = 0;
  int first = 0;
  absl::Span<const int32_t> tokens;    // one per row; kMediaToken at soft positions
  absl::Span<const SoftRun> soft;      // by position in the sequence; those outside are left out
  int logit_rows = 0;                  // how many of the last rows need logits
  bool all_logits = false;             // of each of them, not only what is known of the best
  const BlockTable* blocks = nullptr;  // of the slot; null: as they were
};

struct RunnerOptions {
  int context_length = 0;
  int chunk = 0;          // rows of one sequence in one step, at most
  int max_sequences = 1;  // slots
  int max_rows = 0;       // of a step
  int max_logit_rows = 1;
  // Bytes for keys and values. 0: 2 GiB, or what one sequence of the whole context needs if that is
  // more, but no more than a whole context for each sequence.
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
  const KvShape& shape() const { return shape_; }
  // Of so many blocks.
  uint64_t KvBytes(int full, int sliding) const;

  // Before the next step, in this order.
  void Copy(absl::Span<const BlockCopy> copies);
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
    Pages(Arena& arena, const KvShape& shape);
    Mat tables;  // a row a slot: those of full layers, then those of sliding ones
    KvPages full, sliding;
    Mat rows_of_block;  // 0, 1, ...
  };
  // What TopLogits gives of so many rows.
  struct Top {
    Top(Arena& arena, int rows, int vocabulary);
    Mat ids, values, stats;
  };

  Runner(Backend& backend, std::unique_ptr<Gemma4> model, const RunnerOptions& options,
         const KvShape& shape);
  absl::Status Allocate();
  absl::Status AllocatePages();
  absl::Status Reserve();                       // what the ops of the largest step work in
  void Fill(absl::Span<const StepPart> parts);  // rows_
  int UploadSoft(absl::Span<const StepPart> parts);
  void UploadPages(absl::Span<const StepPart> parts);
  Pages PagesOnDevice() const;
  Step Upload(absl::Span<const StepPart> parts);
  // All ops of a step.
  void Forward(const Step& step, Arena& arena, Mat logits, const Top& top, const Tap& tap);
  // Whether the step is told by its number of rows: each is a sequence's next token.
  bool OnlyWrites(absl::Span<const StepPart> parts) const;
  void DownloadAll(absl::Span<const StepPart> parts, Mat logits);   // of those that want all
  void Describe(absl::Span<const StepPart> parts, const Top& top);  // fills row_logits_

  Backend& backend_;
  std::unique_ptr<Gemma4> model_;
  RunnerOptions options_;
  const KvShape shape_;
  KvCache cache_;
  std::vector<std::shared_ptr<void>> memory_;
  void* workspace_ = nullptr;
  Mat soft_;
  Rows rows_;
  Mirror indices_, pages_, top_;
  std::vector<uint64_t> versions_;  // of the tables on the device, by slot
  std::shared_ptr<void> logits_;    // on the host, of the rows that want all
  std::vector<RowLogits> row_logits_;
};

}  // namespace softsplice
