// See runner.h.
#include "decoder_svc/engine/runner.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr uint64_t kDefaultKvMemory = uint64_t{2} << 30;

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

struct BlockBytes {
  BlockBytes(const Gemma4& model, const RunnerOptions& options, const KvPool::Shape& shape)
      : full(shape.block_rows * model.CacheBytesPerRow(false, KvType(options))),
        ring(shape.ring_blocks * shape.block_rows * model.CacheBytesPerRow(true, KvType(options))) {
  }
  uint64_t full;  // of one block of all full layers
  uint64_t ring;  // of all blocks of one slot's sliding layers
};

// The windows of all sequences, and as many full blocks as memory holds then.
absl::StatusOr<KvPool::Shape> FitShape(const Gemma4& model, const RunnerOptions& options) {
  KvPool::Shape shape = KvPool::ShapeFor(options.max_sequences, options.context_length,
                                         model.config().window, options.chunk);
  const BlockBytes bytes(model, options, shape);
  const uint64_t rings = shape.slots * bytes.ring;
  const uint64_t least = rings + shape.blocks_per_slot * bytes.full;
  const uint64_t memory =
      options.kv_memory == 0 ? std::max(kDefaultKvMemory, least) : options.kv_memory;
  if (memory < least) {
    return InvalidField(
        "kv_memory",
        absl::StrCat("keys and values of a context of ", options.context_length, " tokens, and of ",
                     options.max_sequences, " sequences at once, need at least ", least,
                     " bytes; there are ", memory,
                     ": raise --kv-memory, or lower --context or --max-sequences"));
  }
  if (bytes.full > 0) {
    shape.full_blocks =
        static_cast<int>(std::min<uint64_t>(shape.full_blocks, (memory - rings) / bytes.full));
  }
  return shape;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runner>> Runner::Make(const gguf::File& file, Backend& backend,
                                                     const RunnerOptions& options) {
  ASSIGN_OR_RETURN(auto model, Gemma4::Load(file, backend));
  ASSIGN_OR_RETURN(const KvPool::Shape shape, FitShape(*model, options));
  std::unique_ptr<Runner> runner(new Runner(backend, std::move(model), options, shape));
  RETURN_IF_ERROR(runner->Allocate());
  return runner;
}

Runner::Runner(Backend& backend, std::unique_ptr<Gemma4> model, const RunnerOptions& options,
               const KvPool::Shape& shape)
    : backend_(backend), model_(std::move(model)), options_(options), pool_(shape) {}

Runner::Pages::Pages(Arena& arena, const KvPool::Shape& shape) {
  const auto of = [&](int blocks_per_slot) -> KvPages {
    return {arena.New(shape.slots, blocks_per_slot, DType::kI32),
            arena.New(shape.slots, 1, DType::kI32), shape.block_rows};
  };
  full = of(shape.blocks_per_slot);
  sliding = of(shape.ring_blocks);
}

Runner::Top::Top(Arena& arena, int rows, int vocabulary)
    : ids(arena.New(rows, std::min(vocabulary, kMostTopLogits), DType::kI32)),
      values(arena.New(rows, ids.cols)),
      stats(arena.New(rows, 2)) {}

absl::Status Runner::Allocate() {
  const KvPool::Shape& shape = pool_.shape();
  const int rows = options_.max_rows, tail = options_.max_logit_rows;
  const int vocabulary = model_->config().vocab, dim = model_->config().dim;
  ASSIGN_OR_RETURN(cache_, model_->AllocateCache(backend_, shape.full_blocks * shape.block_rows,
                                                 shape.slots * shape.ring_blocks * shape.block_rows,
                                                 KvType(options_)));
  const auto allocate = [&](size_t bytes) -> absl::StatusOr<void*> {
    ASSIGN_OR_RETURN(auto memory, backend_.Allocate(bytes));
    memory_.push_back(std::move(memory));
    return memory_.back().get();
  };
  ASSIGN_OR_RETURN(void* soft, allocate(static_cast<size_t>(rows) * dim * sizeof(float)));
  soft_ = {soft, rows, dim, dim};
  ASSIGN_OR_RETURN(workspace_, allocate(model_->WorkspaceBytes(backend_, rows, tail)));

  Arena indices(nullptr), pages(nullptr), top(nullptr);
  for (int i = 0; i < 4; ++i) indices.New(rows, 1, DType::kI32);
  for (int i = 0; i < 3; ++i) indices.New(tail, 1, DType::kI32);
  Pages(pages, shape);
  Top(top, tail, vocabulary);
  RETURN_IF_ERROR(indices_.Allocate(backend_, indices.Peak()));
  RETURN_IF_ERROR(pages_.Allocate(backend_, pages.Peak()));
  RETURN_IF_ERROR(top_.Allocate(backend_, top.Peak()));
  ASSIGN_OR_RETURN(
      logits_, backend_.AllocateStaging(static_cast<size_t>(tail) * vocabulary * sizeof(float)));
  return absl::OkStatus();
}

uint64_t Runner::KvBytes(int full_blocks, int slots) const {
  const BlockBytes bytes(*model_, options_, pool_.shape());
  return full_blocks * bytes.full + slots * bytes.ring;
}

absl::StatusOr<absl::Span<const RowLogits>> Runner::Run(absl::Span<const StepPart> parts,
                                                        const Tap& tap) {
  Fill(parts);
  const Step step = Upload(parts);
  Arena arena(workspace_), top_arena(top_.device());
  const int vocabulary = model_->config().vocab;
  const Mat logits = arena.New(step.tail_index.rows, vocabulary);
  const Top top(top_arena, logits.rows, vocabulary);
  const auto pass = [&] {
    model_->Forward(backend_, arena, logits, step, cache_, tap);
    if (logits.rows > 0) backend_.TopLogits(top.ids, top.values, top.stats, logits);
  };
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
      const size_t row = static_cast<size_t>(run.first_row + overlap.first - run.first);
      backend_.Upload(soft_.Rows(sent, overlap.rows), run.values->data() + row * soft_.cols);
      sent += overlap.rows;
    }
  }
  return sent;
}

// They go only when a slot was given out since they last did.
Runner::Pages Runner::UploadPages() {
  Arena arena(pages_.device());
  const Pages pages(arena, pool_.shape());
  if (pages_sent_ == pool_.changes()) return pages;
  const auto place = [&](const KvPages& of, int slot, absl::Span<const int32_t> blocks) {
    std::copy(blocks.begin(), blocks.end(), pages_.Host<int32_t>(of.table, slot));
    *pages_.Host<int32_t>(of.blocks, slot) = static_cast<int32_t>(blocks.size());
  };
  for (int slot = 0; slot < pool_.shape().slots; ++slot) {
    place(pages.full, slot, pool_.FullBlocks(slot));
    place(pages.sliding, slot, pool_.RingBlocks(slot));
  }
  pages_.Upload(backend_, arena.Peak());
  pages_sent_ = pool_.changes();
  return pages;
}

Step Runner::Upload(absl::Span<const StepPart> parts) {
  const int soft_rows = UploadSoft(parts);
  const Pages pages = UploadPages();
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
