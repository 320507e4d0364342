// The forward pass of the gemma4a audio tower.
#include "encoder_svc/model/conformer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/status/macros.h"

namespace softsplice {
namespace {

// Numbers of a convolution's patches that are in work at once: they are nine times as many as those
// they are taken from. So many are products for all multiprocessors of a GPU.
constexpr int kPatchNumbers = 1 << 23;

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
    b.LayerNormRelu(pixels, c.norm, config_.eps);
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

// Gemma4AudioFeedForward up to its last norm: h = down(silu(up(normed))).
void Conformer::FeedForward(Backend& b, Arena& a, const HalfStep& s, Mat h, Mat normed) const {
  Arena::Scope scope(a);
  Mat hidden = ReadBy(a.New(h.rows, config_.ffn, b.Operands()), {&s.down});
  b.MatmulSilu(hidden, normed, s.up);
  b.Matmul(h, hidden, s.down);
}

// Gemma4AudioAttention: h = output(attention(normed)). normed is overwritten. Its chunks, its mask
// and its shift of relative positions say: a row sees itself and the context - 1 rows before it, in
// its own sound.
void Conformer::Attend(Backend& b, Arena& a, const Layer& l, Mat starts, Mat h, Mat normed) const {
  Arena::Scope scope(a);
  const float k_scale = static_cast<float>(std::log1p(std::numbers::e) / std::numbers::ln2);
  Mat q = h, k = a.New(h.rows, h.cols), v = a.New(h.rows, h.cols);
  b.MatmulAll({{q, &l.q}, {k, &l.k}, {v, &l.v}}, normed);
  Mat attended = ReadBy(normed, {&l.output});
  b.ScaledLocalAttention(
      attended, q, k, v, l.relative, starts, l.q_scale, k_scale,
      {.heads = config_.heads, .left = config_.context - 1, .cap = config_.softcap});
  b.Matmul(h, attended, l.output);
}

// Gemma4AudioLightConv1d but for its first norm and the residual. normed is overwritten.
void Conformer::LightConvolve(Backend& b, Arena& a, const Layer& l, Mat starts, Mat h,
                              Mat normed) const {
  Arena::Scope scope(a);
  Mat gated = a.New(h.rows, 2 * h.cols);
  b.Matmul(gated, normed, l.convolution_in);
  Mat convolved = ReadBy(normed, {&l.convolution_out});
  b.GluConv(convolved, h, gated, l.depthwise, l.depthwise_norm, config_.eps, starts);
  b.Matmul(h, convolved, l.convolution_out);
}

// Gemma4AudioLayer, in place on x [rows, dim]. The half of what a feed-forward network adds is in
// its last norm.
void Conformer::RunLayer(Backend& b, Arena& a, const Layer& l, Mat starts, Mat x) const {
  Arena::Scope scope(a);
  Mat h = a.New(x.rows, x.cols), normed = a.New(x.rows, x.cols, b.Operands());
  const auto of = [&](std::initializer_list<const Weight*> readers) {
    return ReadBy(normed, readers);
  };
  const auto add = [&](Mat next, const Weight& gain, const Weight& next_gain) {
    b.AddNormNorm(next, x, h, gain, nullptr, next_gain, config_.eps);
    return next;
  };
  Mat next = of({&l.first.up});
  b.RmsNorm(next, x, &l.first.norm, config_.eps);
  FeedForward(b, a, l.first, h, next);
  next = add(of({&l.q, &l.k, &l.v}), l.first.half_post_norm, l.attention_norm);
  Attend(b, a, l, starts, h, next);
  next = add(of({&l.convolution_in}), l.attention_post_norm, l.convolution_norm);
  LightConvolve(b, a, l, starts, h, next);
  b.Add(x, h);
  next = of({&l.second.up});
  b.RmsNorm(next, x, &l.second.norm, config_.eps);
  FeedForward(b, a, l.second, h, next);
  b.AddNorm(x, h, l.second.half_post_norm, config_.eps);
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

absl::Status Conformer::Reserve(absl::Span<const MelFrames> sounds) {
  return workspace_.Reserve([&](Backend& b, Arena& a) { return Forward(b, a, sounds, {}); });
}

absl::StatusOr<std::vector<std::vector<float>>> Conformer::Encode(
    absl::Span<const MelFrames> sounds, const ConformerTap& tap) {
  ASSIGN_OR_RETURN(Arena arena, workspace_.Plan([&](Backend& b, Arena& a) {
    return Forward(b, a, sounds, {});
  }));
  const Mat soft = Forward(backend_, arena, sounds, tap);
  std::vector<int> rows;
  for (const MelFrames& sound : sounds) rows.push_back(SoundTokenCount(sound.frames));
  return workspace_.Download(soft, rows);
}

}  // namespace softsplice
