// See runner.h.
#include "decoder_svc/engine/runner.h"

#include <algorithm>
#include <numeric>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr uint64_t kDefaultKvMemory = uint64_t{2} << 30;
// Windows that are kept for prompts to come, each as large as it can be.
constexpr int kLeastWindows = 16;
// Positions are counted in an int.
constexpr int kMostBlocks = 1 << 22;

// Rows [first, first + rows) of `run` that lie in the part; rows <= 0: none.
struct Overlap {
  int first = 0;
  int rows = 0;
};

Overlap OverlapOf(const SoftRun& run, const StepPart& part) {
  const int begin = std::max(run.first, part.first);
  const int end = std::min(run.first + run.rows, part.first + static_cast<int>(part.tokens.size()));
  return {begin, end - begin};
}

DType KvType(const RunnerOptions& options) { return options.kv_f32 ? DType::kF32 : DType::kF16; }

// What keys and values of a model take.
struct BlockBytes {
  BlockBytes(const Gemma4& model, const RunnerOptions& options, int block_rows)
      : full(block_rows * model.CacheBytesPerRow(false, KvType(options))),
        sliding(block_rows * model.CacheBytesPerRow(true, KvType(options))) {}
  uint64_t Of(int full_blocks, int sliding_blocks) const {
    return full_blocks * full + sliding_blocks * sliding;
  }
  uint64_t full, sliding;  // a block
};

// How many blocks of `bytes` memory holds, `most` at most.
int Fit(uint64_t memory, uint64_t bytes, int most) {
  return bytes == 0 ? most : static_cast<int>(std::min<uint64_t>(memory / bytes, most));
}

// The least, then windows of resume points from up to half of what is left, then full blocks.
absl::StatusOr<KvShape> FitShape(const Gemma4& model, const RunnerOptions& options) {
  const int sequences = options.max_sequences;
  KvShape shape =
      KvShape::Least(sequences, options.context_length, model.config().window, options.chunk);
  const BlockBytes bytes(model, options, shape.block_rows);
  const uint64_t least = bytes.Of(shape.full_blocks, shape.sliding_blocks);
  const uint64_t memory =
      options.kv_memory == 0 ? std::max(kDefaultKvMemory, least) : options.kv_memory;
  if (memory < least) {
    return InvalidField(
        "kv_memory",
        absl::StrCat("keys and values of a context of ", options.context_length, " tokens, and of ",
                     sequences, " sequences at once, need at least ", least, " bytes; there are ",
                     memory, ": raise --kv-memory, or lower --context or --max-sequences"));
  }
  uint64_t left = memory - least;
  // Points that are near each other share blocks: their number is bounded by these alone.
  shape.resume_points =
      Fit(left / 2, bytes.sliding, std::max(kLeastWindows, 2 * sequences) * shape.BlocksOfWindow());
  shape.sliding_blocks += shape.resume_points;
  left -= shape.resume_points * bytes.sliding;
  const int most = options.kv_memory == 0 ? sequences * shape.full_per_slot : kMostBlocks;
  shape.full_blocks += Fit(left, bytes.full, most - shape.full_blocks);
  return shape;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runner>> Runner::Make(const gguf::File& file, Backend& backend,
                                                     const RunnerOptions& options) {
  ASSIGN_OR_RETURN(auto model, Gemma4::Load(file, backend));
  ASSIGN_OR_RETURN(const KvShape shape, FitShape(*model, options));
  std::unique_ptr<Runner> runner(new Runner(backend, std::move(model), options, shape));
  RETURN_IF_ERROR(runner->Allocate());
  RETURN_IF_ERROR(runner->Reserve());
  return runner;
}

Runner::Runner(Backend& backend, std::unique_ptr<Gemma4> model, const RunnerOptions& options,
               const KvShape& shape)
    : backend_(backend), model_(std::move(model)), options_(options), shape_(shape) {}

Runner::Pages::Pages(Arena& arena, const KvShape& shape)
    : tables(arena.New(shape.slots, shape.full_per_slot + shape.sliding_per_slot, DType::kI32)),
      full{tables.Cols(0, shape.full_per_slot), arena.New(shape.slots, 1, DType::kI32),
           shape.block_rows},
      sliding{tables.Cols(shape.full_per_slot, shape.sliding_per_slot),
              arena.New(shape.slots, 1, DType::kI32), shape.block_rows},
      rows_of_block(arena.New(shape.block_rows, 1, DType::kI32)) {}

Runner::Top::Top(Arena& arena, int rows, int vocabulary)
    : ids(arena.New(rows, std::min(vocabulary, kMostTopLogits), DType::kI32)),
      values(arena.New(rows, ids.cols)),
      stats(arena.New(rows, 2)) {}

absl::Status Runner::Allocate() {
  const int rows = options_.max_rows, tail = options_.max_logit_rows;
  const int vocabulary = model_->config().vocab, dim = model_->config().dim;
  ASSIGN_OR_RETURN(
      cache_, model_->AllocateCache(backend_, shape_.full_blocks * shape_.block_rows,
                                    shape_.sliding_blocks * shape_.block_rows, KvType(options_)));
  const auto allocate = [&](size_t bytes) -> absl::StatusOr<void*> {
    ASSIGN_OR_RETURN(auto memory, backend_.Allocate(bytes));
    memory_.push_back(std::move(memory));
    return memory_.back().get();
  };
  ASSIGN_OR_RETURN(void* soft, allocate(static_cast<size_t>(rows) * dim * sizeof(float)));
  soft_ = {soft, rows, dim, dim};
  ASSIGN_OR_RETURN(workspace_, allocate(model_->WorkspaceBytes(backend_, rows, tail)));

  Arena indices(nullptr), top(nullptr);
  for (int i = 0; i < 4; ++i) indices.New(rows, 1, DType::kI32);
  for (int i = 0; i < 3; ++i) indices.New(tail, 1, DType::kI32);
  Top(top, tail, vocabulary);
  RETURN_IF_ERROR(indices_.Allocate(backend_, indices.Peak()));
  RETURN_IF_ERROR(top_.Allocate(backend_, top.Peak()));
  ASSIGN_OR_RETURN(
      logits_, backend_.AllocateStaging(static_cast<size_t>(tail) * vocabulary * sizeof(float)));
  return AllocatePages();
}

absl::Status Runner::AllocatePages() {
  Arena arena(nullptr);
  Pages(arena, shape_);
  RETURN_IF_ERROR(pages_.Allocate(backend_, arena.Peak()));
  const Pages pages = PagesOnDevice();
  for (int slot = 0; slot < shape_.slots; ++slot) {
    *pages_.Host<int32_t>(pages.full.blocks, slot) = shape_.full_per_slot;
    *pages_.Host<int32_t>(pages.sliding.blocks, slot) = shape_.sliding_per_slot;
  }
  int32_t* const rows = pages_.Host<int32_t>(pages.rows_of_block);
  std::iota(rows, rows + shape_.block_rows, 0);
  pages_.Upload(backend_, arena.Peak());
  versions_.resize(shape_.slots);
  return absl::OkStatus();
}

absl::Status Runner::Reserve() {
  const std::vector<int32_t> tokens(options_.max_rows, 0);
  const StepPart all{.tokens = tokens,
                     .logit_rows = std::min(options_.max_logit_rows, options_.max_rows)};
  Fill({all});
  const Step step = Upload({all});
  Arena arena(workspace_), top_arena(top_.device());
  const Mat logits = arena.New(all.logit_rows, model_->config().vocab);
  const Top top(top_arena, logits.rows, logits.cols);
  backend_.Reserve([&] { Forward(step, arena, logits, top, {}); });
  return backend_.Wait();
}

uint64_t Runner::KvBytes(int full, int sliding) const {
  return BlockBytes(*model_, options_, shape_.block_rows).Of(full, sliding);
}

void Runner::Copy(absl::Span<const BlockCopy> copies) {
  const Mat rows = PagesOnDevice().rows_of_block;
  for (const BlockCopy& copy : copies) {
    model_->CopyRows(backend_, cache_, copy.sliding, copy.from * shape_.block_rows,
                     copy.to * shape_.block_rows, rows);
  }
}

absl::StatusOr<absl::Span<const RowLogits>> Runner::Run(absl::Span<const StepPart> parts,
                                                        const Tap& tap) {
  Fill(parts);
  const Step step = Upload(parts);
  Arena arena(workspace_), top_arena(top_.device());
  const int vocabulary = model_->config().vocab;
  const Mat logits = arena.New(step.tail_index.rows, vocabulary);
  const Top top(top_arena, logits.rows, vocabulary);
  const auto pass = [&] { Forward(step, arena, logits, top, tap); };
  if (OnlyWrites(parts) && !tap) {
    backend_.Replay(parts.size(), pass);
  } else {
    pass();
  }
  if (logits.rows > 0) top_.Download(backend_, top_arena.Peak());
  DownloadAll(parts, logits);
  RETURN_IF_ERROR(backend_.Wait());
  Describe(parts, top);
  return row_logits_;
}

void Runner::Forward(const Step& step, Arena& arena, Mat logits, const Top& top, const Tap& tap) {
  model_->Forward(backend_, arena, logits, step, cache_, tap);
  if (logits.rows > 0) backend_.TopLogits(top.ids, top.values, top.stats, logits);
}

bool Runner::OnlyWrites(absl::Span<const StepPart> parts) const {
  return rows_.soft_index.empty() && absl::c_all_of(parts, [](const StepPart& part) {
           return part.tokens.size() == 1 && part.logit_rows == 1;
         });
}

void Runner::Fill(absl::Span<const StepPart> parts) {
  for (std::vector<int32_t>* v :
       {&rows_.tokens, &rows_.sequences, &rows_.positions, &rows_.soft_index, &rows_.tail_sequences,
        &rows_.tail_positions, &rows_.tail_index}) {
    v->clear();
  }
  for (const StepPart& part : parts) {
    const int begin = static_cast<int>(rows_.tokens.size());
    const int rows = static_cast<int>(part.tokens.size());
    rows_.tokens.insert(rows_.tokens.end(), part.tokens.begin(), part.tokens.end());
    for (int i = 0; i < rows; ++i) {
      rows_.sequences.push_back(part.slot);
      rows_.positions.push_back(part.first + i);
    }
    for (const SoftRun& run : part.soft) {
      const Overlap overlap = OverlapOf(run, part);
      for (int i = 0; i < overlap.rows; ++i) {
        rows_.soft_index.push_back(begin + overlap.first - part.first + i);
      }
    }
    for (int i = rows - part.logit_rows; i < rows; ++i) {
      rows_.tail_sequences.push_back(part.slot);
      rows_.tail_positions.push_back(part.first + i);
      rows_.tail_index.push_back(begin + i);
    }
  }
}

// The soft rows go from where the request keeps them straight to the backend.
int Runner::UploadSoft(absl::Span<const StepPart> parts) {
  int sent = 0;
  for (const StepPart& part : parts) {
    for (const SoftRun& run : part.soft) {
      const Overlap overlap = OverlapOf(run, part);
      if (overlap.rows <= 0) continue;
      const size_t row = static_cast<size_t>(overlap.first - run.first);
      backend_.Upload(soft_.Rows(sent, overlap.rows), run.values->data() + row * soft_.cols);
      sent += overlap.rows;
    }
  }
  return sent;
}

Runner::Pages Runner::PagesOnDevice() const {
  Arena arena(pages_.device());
  return Pages(arena, shape_);
}

void Runner::UploadPages(absl::Span<const StepPart> parts) {
  const Pages pages = PagesOnDevice();
  for (const StepPart& part : parts) {
    if (part.blocks == nullptr || versions_[part.slot] == part.blocks->version) continue;
    int32_t* row = pages_.Host<int32_t>(pages.tables, part.slot);
    absl::c_copy(part.blocks->full, row);
    absl::c_copy(part.blocks->sliding, row + shape_.full_per_slot);
    backend_.Upload(pages.tables.Rows(part.slot, 1), row);
    versions_[part.slot] = part.blocks->version;
  }
}

Step Runner::Upload(absl::Span<const StepPart> parts) {
  const int soft_rows = UploadSoft(parts);
  UploadPages(parts);
  const Pages pages = PagesOnDevice();
  Arena arena(indices_.device());
  const auto place = [&](const std::vector<int32_t>& values) {
    const Mat mat = arena.New(static_cast<int>(values.size()), 1, DType::kI32);
    std::copy(values.begin(), values.end(), indices_.Host<int32_t>(mat));
    return mat;
  };
  const auto map = [&](const std::vector<int32_t>& sequences,
                       const std::vector<int32_t>& positions) -> RowMap {
    const bool one_each = absl::c_adjacent_find(sequences) == sequences.end();  // neighbours
    return {place(sequences), place(positions), one_each};
  };
  const Step step{.tokens = place(rows_.tokens),
                  .rows = map(rows_.sequences, rows_.positions),
                  .soft = soft_.Rows(0, soft_rows),
                  .soft_index = place(rows_.soft_index),
                  .tail_index = place(rows_.tail_index),
                  .tail = map(rows_.tail_sequences, rows_.tail_positions),
                  .full = pages.full,
                  .sliding = pages.sliding};
  indices_.Upload(backend_, arena.Peak());
  return step;
}

void Runner::DownloadAll(absl::Span<const StepPart> parts, Mat logits) {
  int row = 0;
  for (const StepPart& part : parts) {
    if (part.all_logits && part.logit_rows > 0) {
      float* host = static_cast<float*>(logits_.get()) + static_cast<size_t>(row) * logits.cols;
      backend_.Download(host, logits.Rows(row, part.logit_rows));
    }
    row += part.logit_rows;
  }
}

void Runner::Describe(absl::Span<const StepPart> parts, const Top& top) {
  const size_t vocabulary = model_->config().vocab;
  row_logits_.clear();
  for (const StepPart& part : parts) {
    for (int i = 0; i < part.logit_rows; ++i) {
      const int row = static_cast<int>(row_logits_.size());
      const float* stats = top_.Host<float>(top.stats, row);
      row_logits_.push_back({.ids = {top_.Host<int32_t>(top.ids, row), size_t(top.ids.cols)},
                             .values = {top_.Host<float>(top.values, row), size_t(top.ids.cols)},
                             .max = stats[0],
                             .log_sum = stats[1]});
      float* all = static_cast<float*>(logits_.get()) + row * vocabulary;
      if (part.all_logits) row_logits_.back().all = absl::MakeSpan(all, vocabulary);
    }
  }
}

}  // namespace softsplice
