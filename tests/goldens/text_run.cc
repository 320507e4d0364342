#include "tests/goldens/text_run.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/gguf/half.h"
#include "common/status/macros.h"

namespace softsplice::goldens {
namespace {

// Index vectors of one step, kept alive on the host until they are uploaded.
class Uploader {
 public:
  Uploader(Backend& backend, Arena& arena) : backend_(backend), arena_(arena) {}

  Mat Indices(const std::vector<int32_t>& values) {
    const Mat mat = arena_.New(static_cast<int>(values.size()), 1, DType::kI32);
    if (mat.rows > 0) backend_.Upload(mat, values.data());
    return mat;
  }
  Mat Floats(const std::vector<float>& values, int cols) {
    const Mat mat = arena_.New(static_cast<int>(values.size()) / cols, cols);
    if (mat.rows > 0) backend_.Upload(mat, values.data());
    return mat;
  }

 private:
  Backend& backend_;
  Arena& arena_;
};

int32_t Argmax(const HostMatrix& logits, int row) {
  const float* first =
      logits.values.data() + static_cast<size_t>(row) * static_cast<size_t>(logits.cols);
  return static_cast<int32_t>(std::max_element(first, first + logits.cols) - first);
}

}  // namespace

HostMatrix ToHost(Backend& backend, Mat mat) {
  HostMatrix host{mat.rows, mat.cols, {}};
  host.values.resize(static_cast<size_t>(mat.rows) * static_cast<size_t>(mat.cols));
  std::vector<uint16_t> halves(mat.type == DType::kBF16 ? host.values.size() : 0);
  backend.Download(halves.empty() ? static_cast<void*>(host.values.data()) : halves.data(), mat);
  const absl::Status status = backend.Wait();
  std::transform(halves.begin(), halves.end(), host.values.begin(), BF16ToFloat);
  if (!status.ok()) std::fill(host.values.begin(), host.values.end(), std::nanf(""));
  return host;
}

// One sequence: its caches (a single block each; the sliding one is a ring) and its soft rows by
// position.
struct TextModel::Session {
  KvCache cache;
  int full_rows = 0;
  int ring_rows = 0;
  std::vector<const float*> soft;  // per position; null where a token stands
};

absl::StatusOr<std::unique_ptr<TextModel>> TextModel::Load(const std::string& path,
                                                           const BackendOptions& options) {
  std::unique_ptr<TextModel> text(new TextModel);
  ASSIGN_OR_RETURN(text->file_, gguf::File::Open(path));
  ASSIGN_OR_RETURN(text->backend_, MakeBackend(options));
  ASSIGN_OR_RETURN(text->tokenizer_, Tokenizer::FromGguf(*text->file_));
  ASSIGN_OR_RETURN(text->model_, Gemma4::Load(*text->file_, *text->backend_));
  return text;
}

absl::Status TextModel::Feed(Session& session, const std::vector<int32_t>& tokens, int first,
                             int count, const std::vector<int>& tail, const PromptRun& run,
                             HostMatrix* logits) {
  const int dim = model_->config().dim;
  const size_t bytes = model_->WorkspaceBytes(*backend_, count, static_cast<int>(tail.size())) +
                       static_cast<size_t>(count) * static_cast<size_t>(dim + 8) * sizeof(float) +
                       (64 << 10);
  ASSIGN_OR_RETURN(const std::shared_ptr<void> memory, backend_->Allocate(bytes));
  Arena arena(memory.get());
  Uploader up(*backend_, arena);

  std::vector<int32_t> ids, zeros(static_cast<size_t>(count), 0), positions, soft_index, tail_rows,
      tail_positions;
  std::vector<float> soft;
  for (int i = 0; i < count; ++i) {
    const float* row = session.soft[static_cast<size_t>(first + i)];
    ids.push_back(row == nullptr ? tokens[static_cast<size_t>(first + i)] : kMediaToken);
    positions.push_back(first + i);
    if (row == nullptr) continue;
    soft_index.push_back(i);
    soft.insert(soft.end(), row, row + dim);
  }
  for (int row : tail) {
    tail_rows.push_back(row - first);
    tail_positions.push_back(row);
  }
  Step step;
  step.tokens = up.Indices(ids);
  step.rows = {up.Indices(zeros), up.Indices(positions)};
  step.soft = up.Floats(soft, dim);
  step.soft_index = up.Indices(soft_index);
  step.tail_index = up.Indices(tail_rows);
  step.tail = {up.Indices(std::vector<int32_t>(tail.size(), 0)), up.Indices(tail_positions)};
  const Mat table = up.Indices({0});
  const Mat blocks = up.Indices({1});
  step.full = {table, blocks, session.full_rows};
  step.sliding = {table, blocks, session.ring_rows};

  Tap tap;
  if (run.stages) {
    tap = [&](absl::string_view stage, Mat x) { run.stages(stage, ToHost(*backend_, x)); };
  }
  const Mat out = arena.New(static_cast<int>(tail.size()), model_->config().vocab);
  model_->Forward(*backend_, arena, out, step, session.cache, tap);
  if (!tail.empty()) *logits = ToHost(*backend_, out);
  return backend_->Wait();
}

absl::Status TextModel::PlaceSoft(const PromptRun& run, Session& session) const {
  const int32_t image = tokenizer_->Find("<|image|>"), audio = tokenizer_->Find("<|audio|>");
  const size_t prompt = run.tokens.size();
  size_t medium = 0;
  for (size_t i = 0; i < prompt && !run.soft.empty();) {
    const int32_t placeholder = run.tokens[i];
    if (placeholder != image && placeholder != audio) {
      ++i;
      continue;
    }
    if (medium == run.soft.size()) return absl::InvalidArgumentError("more places than media");
    const HostMatrix& rows = run.soft[medium++];
    size_t end = i;
    while (end < prompt && run.tokens[end] == placeholder) ++end;
    if (static_cast<size_t>(rows.rows) != end - i || rows.cols != model_->config().dim) {
      return absl::InvalidArgumentError(
          absl::StrCat("medium ", medium, " has ", rows.rows, " rows; its place has ", end - i));
    }
    for (const float* row = rows.values.data(); i < end; ++i, row += rows.cols) {
      session.soft[i] = row;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TextResult> TextModel::Run(const PromptRun& run) {
  const int prompt = static_cast<int>(run.tokens.size());
  const int chunk = run.chunk > 0 ? run.chunk : prompt;
  const TextConfig& config = model_->config();
  Session session;
  session.full_rows = prompt + run.greedy + 1;
  session.ring_rows = config.window + chunk;
  ASSIGN_OR_RETURN(session.cache,
                   model_->AllocateCache(*backend_, session.full_rows, session.ring_rows,
                                         run.kv_f32 ? DType::kF32 : DType::kF16));
  session.soft.assign(static_cast<size_t>(session.full_rows), nullptr);
  RETURN_IF_ERROR(PlaceSoft(run, session));

  TextResult result{{0, config.vocab, {}}, {}};
  HostMatrix last;
  for (int first = 0; first < prompt; first += chunk) {
    const int count = std::min(chunk, prompt - first);
    std::vector<int> tail;
    for (int row : run.logit_rows) {
      if (row >= first && row < first + count) tail.push_back(row);
    }
    RETURN_IF_ERROR(Feed(session, run.tokens, first, count, tail, run, &last));
    if (tail.empty()) continue;
    result.logits.rows += last.rows;
    result.logits.values.insert(result.logits.values.end(), last.values.begin(), last.values.end());
  }
  std::vector<int32_t> tokens = run.tokens;
  for (int i = 0; i < run.greedy; ++i) {
    result.greedy.push_back(Argmax(last, last.rows - 1));
    tokens.push_back(result.greedy.back());
    const int position = static_cast<int>(tokens.size()) - 1;
    RETURN_IF_ERROR(Feed(session, tokens, position, 1, {position}, run, &last));
  }
  return result;
}

}  // namespace softsplice::goldens
