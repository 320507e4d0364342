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

// Gemma4VisionAttention: h = output(attention(normed)). normed is overwritten.
void Vit::Attend(Backend& b, Arena& a, const Layer& l, const Batch& batch, Mat h,
                 Mat normed) const {
  Arena::Scope scope(a);
  Mat q = h, k = a.New(h.rows, h.cols), v = a.New(h.rows, h.cols);
  b.MatmulAll({{q, &l.q}, {k, &l.k}, {v, &l.v}}, normed);
  Mat attended = ReadBy(normed, {&l.output});
  b.PatchAttention(attended, q, k, v,
                   {.q_gain = &l.q_norm,
                    .k_gain = &l.k_norm,
                    .eps = config_.eps,
                    .columns = batch.columns,
                    .rows = batch.rows,
                    .starts = batch.starts,
                    .heads = config_.heads,
                    .rope_base = config_.rope_base});
  b.Matmul(h, attended, l.output);
}

// Gemma4VisionMLP: h = down(gelu(gate(normed)) * up(normed)).
void Vit::FeedForward(Backend& b, Arena& a, const Layer& l, Mat h, Mat normed) const {
  Arena::Scope scope(a);
  const int most = std::min(h.rows, kFfnRows);
  Mat gated = ReadBy(a.New(most, config_.ffn, b.Operands()), {&l.down});
  Mat up = a.New(most, config_.ffn);
  for (int first = 0; first < h.rows; first += kFfnRows) {
    const int rows = std::min(kFfnRows, h.rows - first);
    b.GatedMatmul(gated.Rows(0, rows), up.Rows(0, rows), normed.Rows(first, rows), l.gate, l.up,
                  gelu_);
    b.Matmul(h.Rows(first, rows), gated.Rows(0, rows), l.down);
  }
}

// Gemma4VisionEncoderLayer, in place on x [patches, dim]. normed: x's norm, this layer's before,
// the next one's afterwards.
void Vit::RunLayer(Backend& b, Arena& a, size_t index, const Batch& batch, Mat x,
                   Mat normed) const {
  const Layer& l = layers_[index];
  Arena::Scope scope(a);
  Mat h = a.New(x.rows, x.cols);
  Attend(b, a, l, batch, h, ReadBy(normed, {&l.q, &l.k, &l.v}));
  Mat of_ffn = ReadBy(normed, {&l.gate, &l.up});
  b.AddNormNorm(of_ffn, x, h, l.attention_post_norm, nullptr, l.ffn_norm, config_.eps);
  FeedForward(b, a, l, h, of_ffn);
  if (index + 1 == layers_.size()) return b.AddNorm(x, h, l.ffn_post_norm, config_.eps);
  const Layer& next = layers_[index + 1];
  b.AddNormNorm(ReadBy(normed, {&next.q, &next.k, &next.v}), x, h, l.ffn_post_norm, nullptr,
                next.attention_norm, config_.eps);
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
  const Layer& top = layers_.front();
  Mat normed = a.New(x.rows, x.cols, b.Operands());
  b.RmsNorm(ReadBy(normed, {&top.q, &top.k, &top.v}), x, &top.attention_norm, config_.eps);
  for (size_t i = 0; i < layers_.size(); ++i) {
    RunLayer(b, a, i, batch, x, normed);
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
  Mat projected = a.New(pooled.rows, pooled.cols, b.Operands());
  b.RmsNorm(projected, pooled, nullptr, config_.eps);
  Mat soft = a.New(pooled.rows, config_.projection_dim);
  b.Matmul(soft, projected, projector_);
  if (tap) tap("projector", soft);
  return soft;
}

absl::Status Vit::Reserve(absl::Span<const Patches> pictures) {
  return workspace_.Reserve([&](Backend& b, Arena& a) { return Forward(b, a, pictures, {}); });
}

absl::StatusOr<std::vector<std::vector<float>>> Vit::Encode(absl::Span<const Patches> pictures,
                                                            const VitTap& tap) {
  ASSIGN_OR_RETURN(Arena arena, workspace_.Plan([&](Backend& b, Arena& a) {
    return Forward(b, a, pictures, {});
  }));
  const Mat soft = Forward(backend_, arena, pictures, tap);
  std::vector<int> rows;
  for (const Patches& picture : pictures) {
    rows.push_back(PatchCount(picture) / (config_.pool * config_.pool));
  }
  return workspace_.Download(soft, rows);
}

}  // namespace softsplice
