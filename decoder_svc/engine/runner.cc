// See runner.h.
#include "decoder_svc/engine/runner.h"

#include <algorithm>

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

Runner::Top::Top(Arena& arena, int rows, int vocabulary)
    : ids(arena.New(rows, std::min(vocabulary, kMostTopLogits), DType::kI32)),
      values(arena.New(rows, ids.cols)),
      stats(arena.New(rows, 2)) {}

absl::Status Runner::Allocate() {
  const KvPool::Shape& shape = pool_.shape();
  ASSIGN_OR_RETURN(cache_, model_->AllocateCache(backend_, shape.full_blocks * shape.block_rows,
                                                 shape.slots * shape.ring_blocks * shape.block_rows,
                                                 KvType(options_)));
  const auto matrix = [&](int rows, int cols, DType type) -> absl::StatusOr<Mat> {
    ASSIGN_OR_RETURN(auto memory,
                     backend_.Allocate(static_cast<size_t>(rows) * cols * SizeOf(type)));
    memory_.push_back(memory);
    return Mat{memory.get(), rows, cols, cols, type};
  };
  const auto indices = [&](Indices& which, int rows, int cols) -> absl::Status {
    which.host.reserve(static_cast<size_t>(rows) * cols);
    ASSIGN_OR_RETURN(which.device, matrix(rows, cols, DType::kI32));
    return absl::OkStatus();
  };
  for (Indices* of_rows : {&tokens_, &sequences_, &positions_, &soft_index_}) {
    RETURN_IF_ERROR(indices(*of_rows, options_.max_rows, 1));
  }
  for (Indices* of_tail : {&tail_sequences_, &tail_positions_, &tail_index_}) {
    RETURN_IF_ERROR(indices(*of_tail, options_.max_logit_rows, 1));
  }
  RETURN_IF_ERROR(indices(full_table_, shape.slots, shape.blocks_per_slot));
  RETURN_IF_ERROR(indices(ring_table_, shape.slots, shape.ring_blocks));
  RETURN_IF_ERROR(indices(full_blocks_, shape.slots, 1));
  RETURN_IF_ERROR(indices(ring_blocks_, shape.slots, 1));
  ASSIGN_OR_RETURN(soft_, matrix(options_.max_rows, model_->config().dim, DType::kF32));

  const size_t workspace = model_->WorkspaceBytes(options_.max_rows, options_.max_logit_rows);
  ASSIGN_OR_RETURN(auto memory, backend_.Allocate(workspace));
  workspace_ = memory.get();
  memory_.push_back(std::move(memory));

  const int vocabulary = model_->config().vocab;
  Arena top(nullptr);
  Top(top, options_.max_logit_rows, vocabulary);
  top_host_.resize(top.Peak());
  ASSIGN_OR_RETURN(memory, backend_.Allocate(top_host_.size()));
  top_ = memory.get();
  memory_.push_back(std::move(memory));
  logits_.resize(static_cast<size_t>(options_.max_logit_rows) * vocabulary);
  row_logits_.reserve(options_.max_logit_rows);
  return absl::OkStatus();
}

uint64_t Runner::KvBytes(int full_blocks, int slots) const {
  const BlockBytes bytes(*model_, options_, pool_.shape());
  return full_blocks * bytes.full + slots * bytes.ring;
}

absl::StatusOr<absl::Span<const RowLogits>> Runner::Run(absl::Span<const StepPart> parts,
                                                        const Tap& tap) {
  Fill(parts);
  Arena arena(workspace_), top_arena(top_);
  const Mat logits = model_->Forward(backend_, arena, Upload(parts), cache_, tap);
  const Top top(top_arena, logits.rows, model_->config().vocab);
  if (logits.rows > 0) {
    backend_.TopLogits(top.ids, top.values, top.stats, logits);
    const int numbers = static_cast<int>(top_arena.Peak() / SizeOf(DType::kI32));
    backend_.Download(top_host_.data(), {top_, 1, numbers, numbers, DType::kI32});
    DownloadAll(parts, logits);
  }
  RETURN_IF_ERROR(backend_.Wait());
  Describe(parts, top);
  return row_logits_;
}

void Runner::DownloadAll(absl::Span<const StepPart> parts, Mat logits) {
  int row = 0;
  for (const StepPart& part : parts) {
    if (part.all_logits && part.logit_rows > 0) {
      backend_.Download(logits_.data() + static_cast<size_t>(row) * logits.cols,
                        logits.Rows(row, part.logit_rows));
    }
    row += part.logit_rows;
  }
}

void Runner::Describe(absl::Span<const StepPart> parts, const Top& top) {
  const auto host = [&]<class T>(Mat mat, int row, T) {
    const ptrdiff_t place = reinterpret_cast<char*>(mat.Row<T>(row)) - static_cast<char*>(top_);
    return absl::MakeConstSpan(reinterpret_cast<const T*>(top_host_.data() + place), mat.cols);
  };
  row_logits_.clear();
  for (const StepPart& part : parts) {
    for (int i = 0; i < part.logit_rows; ++i) {
      const int row = static_cast<int>(row_logits_.size());
      const auto stats = host(top.stats, row, float{});
      RowLogits& known =
          row_logits_.emplace_back(RowLogits{.ids = host(top.ids, row, int32_t{}),
                                             .values = host(top.values, row, float{}),
                                             .max = stats[0],
                                             .log_sum = stats[1]});
      const size_t vocabulary = model_->config().vocab;
      if (part.all_logits)
        known.all = absl::MakeSpan(logits_).subspan(row * vocabulary, vocabulary);
    }
  }
}

void Runner::Fill(absl::Span<const StepPart> parts) {
  for (Indices* v : {&tokens_, &sequences_, &positions_, &soft_index_, &tail_sequences_,
                     &tail_positions_, &tail_index_}) {
    v->host.clear();
  }
  for (const StepPart& part : parts) {
    const int begin = static_cast<int>(tokens_.host.size());
    const int rows = static_cast<int>(part.tokens.size());
    tokens_.host.insert(tokens_.host.end(), part.tokens.begin(), part.tokens.end());
    for (int i = 0; i < rows; ++i) {
      sequences_.host.push_back(part.slot);
      positions_.host.push_back(part.first + i);
    }
    for (const SoftRun& run : part.soft) {
      const Overlap overlap = OverlapOf(run, part);
      for (int i = 0; i < overlap.rows; ++i) {
        soft_index_.host.push_back(begin + overlap.first - part.first + i);
      }
    }
    for (int i = rows - part.logit_rows; i < rows; ++i) {
      tail_sequences_.host.push_back(part.slot);
      tail_positions_.host.push_back(part.first + i);
      tail_index_.host.push_back(begin + i);
    }
  }
  const KvPool::Shape& shape = pool_.shape();
  full_table_.host.assign(static_cast<size_t>(shape.slots) * shape.blocks_per_slot, 0);
  ring_table_.host.assign(static_cast<size_t>(shape.slots) * shape.ring_blocks, 0);
  full_blocks_.host.assign(shape.slots, 0);
  ring_blocks_.host.assign(shape.slots, 0);
  for (const StepPart& part : parts) {
    const auto full = pool_.FullBlocks(part.slot), ring = pool_.RingBlocks(part.slot);
    std::copy(full.begin(), full.end(),
              full_table_.host.begin() + part.slot * shape.blocks_per_slot);
    std::copy(ring.begin(), ring.end(), ring_table_.host.begin() + part.slot * shape.ring_blocks);
    full_blocks_.host[part.slot] = static_cast<int32_t>(full.size());
    ring_blocks_.host[part.slot] = static_cast<int32_t>(ring.size());
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

Mat Runner::Send(const Indices& indices) {
  const int rows = static_cast<int>(indices.host.size()) / indices.device.cols;
  const Mat mat = indices.device.Rows(0, rows);
  if (rows > 0) backend_.Upload(mat, indices.host.data());
  return mat;
}

RowMap Runner::SendRows(const Indices& sequences, const Indices& positions) {
  const std::vector<int32_t>& of = sequences.host;  // those of one sequence are neighbours
  return {Send(sequences), Send(positions), std::adjacent_find(of.begin(), of.end()) == of.end()};
}

Step Runner::Upload(absl::Span<const StepPart> parts) {
  const int soft_rows = UploadSoft(parts);
  const int block_rows = pool_.shape().block_rows;
  return {.tokens = Send(tokens_),
          .rows = SendRows(sequences_, positions_),
          .soft = soft_.Rows(0, soft_rows),
          .soft_index = Send(soft_index_),
          .tail_index = Send(tail_index_),
          .tail = SendRows(tail_sequences_, tail_positions_),
          .full = {Send(full_table_), Send(full_blocks_), block_rows},
          .sliding = {Send(ring_table_), Send(ring_blocks_), block_rows}};
}

}  // namespace softsplice
