// The forward pass of the gemma4a audio tower.
#include "encoder_svc/model/conformer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/status/macros.h"

namespace softsplice {
namespace {

// Numbers of a convolution's patches that are in work at once: they are nine times as many as those
// they are taken from.
constexpr int kPatchNumbers = 1 << 18;

constexpr int Halved(int n) { return (n + 1) / 2; }

// The same numbers with one row for each group of `cols`; x is dense.
Mat Regrouped(Mat x, int cols) { return {x.data, x.rows * (x.cols / cols), cols, cols, x.type}; }

}  // namespace

// Gemma4AudioSubSampleConvProjectionLayer of one sound: a 3x3 convolution with stride 2, a norm
// over the channels, ReLU. A row is a frame, its columns are (bin, channel).
void Conformer::Convolve(Backend& b, Arena& a, const Convolution& c, Mat x, Mat y) const {
  const int bins = y.cols / c.kernel.rows;
  const int part = std::max(1, kPatchNumbers / (bins * c.kernel.cols));
  for (int first = 0; first < y.rows; first += part) {
    Arena::Scope scope(a);
    const int frames = std::min(part, y.rows - first);
    Mat patches = a.New(frames * bins, c.kernel.cols, b.Operands());
    Mat pixels = Regrouped(y.Rows(first, frames), c.kernel.rows);
    b.Unfold(patches, x, c.kernel.cols / 9, first);
    b.Matmul(pixels, patches, c.kernel);
    b.LayerNorm(pixels, pixels, c.norm, config_.eps);
    b.Relu(pixels);
  }
}

// Gemma4AudioSubSampleConvProjection: x [tokens of all sounds, dim].
void Conformer::Subsample(Backend& b, Arena& a, absl::Span<const MelFrames> sounds, Mat x) const {
  Arena::Scope scope(a);
  Mat quarter = a.New(x.rows, input_projection_.cols);
  int first = 0;
  for (const MelFrames& sound : sounds) {
    Arena::Scope sound_scope(a);
    Mat mel = a.New(sound.frames, config_.mel_bins);
    Mat half = a.New(Halved(sound.frames), config_.mel_bins / 2 * config_.conv_channels[0]);
    b.Upload(mel, sound.values.data());
    Convolve(b, a, convolutions_[0], mel, half);
    Convolve(b, a, convolutions_[1], half, quarter.Rows(first, Halved(half.rows)));
    first += Halved(half.rows);
  }
  b.Matmul(x, quarter, input_projection_);
}

// Gemma4AudioFeedForward: x += post_norm(down(silu(up(norm(x))))) / 2.
void Conformer::FeedForward(Backend& b, Arena& a, const HalfStep& s, Mat x) const {
  Arena::Scope scope(a);
  Mat h = a.New(x.rows, x.cols), normed = a.New(x.rows, x.cols, b.Operands());
  Mat hidden = a.New(x.rows, config_.ffn);
  b.RmsNorm(normed, x, &s.norm, config_.eps);
  b.Matmul(hidden, normed, s.up);
  b.Silu(hidden);
  b.Matmul(h, hidden, s.down);
  b.AddNorm(x, h, s.half_post_norm, config_.eps);
}

// Gemma4AudioAttention with the norms and the residual around it. Its chunks, its mask and its
// shift of relative positions say: a row sees itself and the context - 1 rows before it, in its own
// sound.
void Conformer::Attend(Backend& b, Arena& a, const Layer& l, Mat starts, Mat x) const {
  Arena::Scope scope(a);
  const float k_scale = static_cast<float>(std::log1p(std::numbers::e) / std::numbers::ln2);
  Mat operand = a.New(x.rows, x.cols, b.Operands());  // of q, k and v, then of the output
  Mat q = a.New(x.rows, x.cols), k = a.New(x.rows, x.cols), v = a.New(x.rows, x.cols);
  b.RmsNorm(operand, x, &l.attention_norm, config_.eps);
  b.MatmulAll({{q, &l.q}, {k, &l.k}, {v, &l.v}}, operand);
  b.MulVector(q, l.q_scale);
  b.Scale(k, k_scale);
  b.LocalAttention(operand, q, k, v, l.relative, starts,
                   {.heads = config_.heads, .left = config_.context - 1, .cap = config_.softcap});
  b.Matmul(q, operand, l.output);
  b.AddNorm(x, q, l.attention_post_norm, config_.eps);
}

// Gemma4AudioLightConv1d.
void Conformer::LightConvolve(Backend& b, Arena& a, const Layer& l, Mat starts, Mat x) const {
  Arena::Scope scope(a);
  Mat h = a.New(x.rows, x.cols), normed = a.New(x.rows, x.cols, b.Operands());
  Mat gated = a.New(x.rows, 2 * x.cols);
  Mat convolved = a.New(x.rows, x.cols);
  b.RmsNorm(normed, x, &l.convolution_norm, config_.eps);
  b.Matmul(gated, normed, l.convolution_in);
  b.Glu(h, gated);
  b.DepthwiseConv(convolved, h, l.depthwise, starts);
  b.RmsNorm(convolved, convolved, &l.depthwise_norm, config_.eps);
  b.Silu(convolved);
  b.Matmul(h, convolved, l.convolution_out);
  b.Add(x, h);
}

// Gemma4AudioLayer.
void Conformer::RunLayer(Backend& b, Arena& a, const Layer& l, Mat starts, Mat x) const {
  FeedForward(b, a, l.first, x);
  Attend(b, a, l, starts, x);
  LightConvolve(b, a, l, starts, x);
  FeedForward(b, a, l.second, x);
  b.RmsNorm(x, x, &l.output_norm, config_.eps);
}

// Gemma4AudioModel and Gemma4MultimodalEmbedder: soft tokens of all sounds, [soft tokens,
// projection_dim].
Mat Conformer::Forward(Backend& b, Arena& a, absl::Span<const MelFrames> sounds,
                       const ConformerTap& tap) const {
  std::vector<int32_t> first_rows = {0};
  for (const MelFrames& sound : sounds) {
    first_rows.push_back(first_rows.back() + SoundTokenCount(sound.frames));
  }
  Mat starts = a.New(static_cast<int>(first_rows.size()), 1, DType::kI32);
  b.Upload(starts, first_rows.data());
  Mat x = a.New(first_rows.back(), config_.dim);
  Subsample(b, a, sounds, x);
  if (tap) tap("subsample", x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    RunLayer(b, a, layers_[i], starts, x);
    if (tap && i == 0) tap("block0", x);
  }
  if (tap) tap("block_last", x);

  Mat output = a.New(x.rows, config_.output_dim);
  b.Matmul(output, x, output_projection_);
  b.AddVector(output, output_bias_);
  if (tap) tap("output_proj", output);
  Mat normed = a.New(output.rows, output.cols, b.Operands());
  b.RmsNorm(normed, output, nullptr, config_.eps);
  Mat soft = a.New(x.rows, config_.projection_dim);
  b.Matmul(soft, normed, projector_);
  if (tap) tap("projector", soft);
  return soft;
}

absl::StatusOr<Arena> Conformer::Plan(absl::Span<const MelFrames> sounds) {
  return workspace_.Plan([&](Backend& b, Arena& a) { Forward(b, a, sounds, {}); });
}

absl::Status Conformer::Reserve(absl::Span<const MelFrames> sounds) {
  return Plan(sounds).status();
}

absl::StatusOr<std::vector<std::vector<float>>> Conformer::Encode(
    absl::Span<const MelFrames> sounds, const ConformerTap& tap) {
  ASSIGN_OR_RETURN(Arena arena, Plan(sounds));
  const Mat soft = Forward(backend_, arena, sounds, tap);
  std::vector<int> rows;
  for (const MelFrames& sound : sounds) rows.push_back(SoundTokenCount(sound.frames));
  return DownloadRuns(backend_, soft, rows);
}

}  // namespace softsplice
