// The forward pass of the gemma4v image tower.
#include "encoder_svc/model/vit.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

// Rows of the feed-forward network that are in work at once: its hidden rows are four times as wide
// as all others, and a picture of 1120 soft tokens has 10,080 of them. Those of 280 fit, as fewer
// rows leave some of a GPU's multiprocessors idle.
constexpr int kFfnRows = 2560;

int PatchCount(const Patches& picture) { return picture.grid_columns * picture.grid_rows; }

int PatchCount(absl::Span<const Patches> pictures) {
  int count = 0;
  for (const Patches& picture : pictures) count += PatchCount(picture);
  return count;
}

}  // namespace

absl::Status Vit::CheckGrid(int columns, int rows) const {
  if (std::max(columns, rows) <= config_.positions) return absl::OkStatus();
  return InvalidMedia(absl::StrCat("the picture becomes ", columns, " x ", rows,
                                   " patches; this model knows positions up to ", config_.positions,
                                   " along a side"));
}

Vit::Batch Vit::UploadBatch(Backend& b, Arena& a, absl::Span<const Patches> pictures) const {
  const int patches = PatchCount(pictures);
  Batch batch{.columns = a.New(patches, 1, DType::kI32),
              .rows = a.New(patches, 1, DType::kI32),
              .starts = a.New(static_cast<int>(pictures.size()) + 1, 1, DType::kI32)};
  std::vector<int32_t> starts = {0};
  for (const Patches& picture : pictures) {
    const int count = PatchCount(picture);
    b.Upload(batch.columns.Rows(starts.back(), count), picture.columns.data());
    b.Upload(batch.rows.Rows(starts.back(), count), picture.rows.data());
    starts.push_back(starts.back() + count);
  }
  b.Upload(batch.starts, starts.data());
  return batch;
}

// Gemma4VisionPatchEmbedder: x [patches, dim].
void Vit::EmbedPatches(Backend& b, Arena& a, absl::Span<const Patches> pictures, const Batch& batch,
                       Mat x, const VitTap& tap) const {
  Arena::Scope scope(a);
  Mat pixels = a.New(x.rows, patch_projection_.cols);
  int first = 0;
  for (const Patches& picture : pictures) {
    b.Upload(pixels.Rows(first, PatchCount(picture)), picture.values.data());
    first += PatchCount(picture);
  }
  b.Matmul(x, pixels, patch_projection_);
  if (tap) tap("patch_embed", x);
  b.AddEmbedding(x, batch.columns, column_table_);
  b.AddEmbedding(x, batch.rows, row_table_);
  if (tap) tap("pos_embed", x);
}

// Gemma4VisionAttention with the norms and the residual around it:
// x += post_norm(output(attention(norm(x)))). Half of a head's dims turn with the column, half with
// the row.
void Vit::Attend(Backend& b, Arena& a, const Layer& l, const Batch& batch, Mat x) const {
  Arena::Scope scope(a);
  const int head = config_.HeadDim();
  const RopeSpec by_column{.head_dim = head, .count = head / 2, .base = config_.rope_base};
  RopeSpec by_row = by_column;
  by_row.first = head / 2;
  Mat operand = a.New(x.rows, x.cols, b.Operands());  // of q, k and v, then of the output
  Mat q = a.New(x.rows, x.cols), k = a.New(x.rows, x.cols), v = a.New(x.rows, x.cols);
  b.RmsNorm(operand, x, &l.attention_norm, config_.eps);
  b.MatmulAll({{q, &l.q}, {k, &l.k}, {v, &l.v}}, operand);
  b.HeadNormRope(q, l.q_norm, config_.eps, batch.columns, by_column);
  b.HeadNormRope(k, l.k_norm, config_.eps, batch.columns, by_column);
  for (Mat rotated : {q, k}) b.Rope(rotated, batch.rows, by_row);
  b.RmsNorm(v, v, nullptr, config_.eps, head);
  b.SelfAttention(operand, q, k, v, batch.starts, config_.heads);
  b.Matmul(q, operand, l.output);
  b.AddNorm(x, q, l.attention_post_norm, config_.eps);
}

// Gemma4VisionMLP with the norms and the residual around it.
void Vit::FeedForward(Backend& b, Arena& a, const Layer& l, Mat x) const {
  Arena::Scope scope(a);
  Mat h = a.New(x.rows, x.cols), normed = a.New(x.rows, x.cols, b.Operands());
  const int most = std::min(x.rows, kFfnRows);
  Mat gated = a.New(most, config_.ffn, b.Operands()), up = a.New(most, config_.ffn);
  b.RmsNorm(normed, x, &l.ffn_norm, config_.eps);
  for (int first = 0; first < x.rows; first += kFfnRows) {
    const int rows = std::min(kFfnRows, x.rows - first);
    b.GatedMatmul(gated.Rows(0, rows), up.Rows(0, rows), normed.Rows(first, rows), l.gate, l.up,
                  gelu_);
    b.Matmul(h.Rows(first, rows), gated.Rows(0, rows), l.down);
  }
  b.AddNorm(x, h, l.ffn_post_norm, config_.eps);
}

// The end of Gemma4VisionModel; most models have no such step.
void Vit::Standardize(Backend& b, Mat pooled) const {
  if (!scale_) return;
  b.AddVector(pooled, minus_bias_);
  b.MulVector(pooled, scale_);
}

// Soft tokens of all pictures, [soft tokens, projection_dim].
Mat Vit::Forward(Backend& b, Arena& a, absl::Span<const Patches> pictures,
                 const VitTap& tap) const {
  const Batch batch = UploadBatch(b, a, pictures);
  Mat x = a.New(batch.columns.rows, config_.dim);
  EmbedPatches(b, a, pictures, batch, x, tap);
  for (size_t i = 0; i < layers_.size(); ++i) {
    Attend(b, a, layers_[i], batch, x);
    FeedForward(b, a, layers_[i], x);
    if (tap && i == 0) tap("block0", x);
  }
  if (tap) tap("block_last", x);

  const int area = config_.pool * config_.pool;
  Mat pooled = a.New(x.rows / area, config_.dim);
  int first = 0;
  for (const Patches& picture : pictures) {
    const int count = PatchCount(picture);
    b.AveragePool(pooled.Rows(first / area, count / area), x.Rows(first, count),
                  picture.grid_columns, config_.pool);
    first += count;
  }
  b.Scale(pooled, std::sqrt(static_cast<float>(config_.dim)));
  if (tap) tap("pool", pooled);
  Standardize(b, pooled);
  Mat normed = a.New(pooled.rows, pooled.cols, b.Operands());
  b.RmsNorm(normed, pooled, nullptr, config_.eps);
  Mat soft = a.New(pooled.rows, config_.projection_dim);
  b.Matmul(soft, normed, projector_);
  if (tap) tap("projector", soft);
  return soft;
}

absl::StatusOr<Arena> Vit::Plan(absl::Span<const Patches> pictures) {
  return workspace_.Plan([&](Backend& b, Arena& a) { Forward(b, a, pictures, {}); });
}

absl::Status Vit::Reserve(absl::Span<const Patches> pictures) { return Plan(pictures).status(); }

absl::StatusOr<std::vector<std::vector<float>>> Vit::Encode(absl::Span<const Patches> pictures,
                                                            const VitTap& tap) {
  ASSIGN_OR_RETURN(Arena arena, Plan(pictures));
  const Mat soft = Forward(backend_, arena, pictures, tap);
  std::vector<int> rows;
  for (const Patches& picture : pictures) {
    rows.push_back(PatchCount(picture) / (config_.pool * config_.pool));
  }
  return DownloadRuns(backend_, soft, rows);
}

}  // namespace softsplice
