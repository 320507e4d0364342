// The forward pass of the gemma4 text trunk.
#include "decoder_svc/model/gemma4.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "kernels/arena.h"
#include "kernels/null_backend.h"

namespace softsplice {

// Gemma4TextModel.project_per_layer_inputs: what the token says of itself at every layer, plus a
// projection of its embedding. [rows, layers * ple].
Mat Gemma4::PerLayerInputs(Backend& b, Arena& a, Mat tokens, Mat x) const {
  const int width = config_.layers * config_.ple_dim;
  Mat ple = a.New(x.rows, width);
  Arena::Scope scope(a);
  Mat of_token = a.New(x.rows, width);
  b.Embed(of_token, tokens, per_layer_table_, std::sqrt(static_cast<float>(config_.ple_dim)));
  b.Matmul(ple, x, per_layer_projection_);
  b.Scale(ple, 1 / std::sqrt(static_cast<float>(config_.dim)));
  b.RmsNorm(ple, ple, &per_layer_norm_, config_.eps, config_.ple_dim);
  b.Add(ple, of_token);
  b.Scale(ple, std::sqrt(0.5f));
  return ple;
}

// Gemma4TextAttention: h = output(attention(normed)).
void Gemma4::Attend(Backend& b, Arena& a, const Layer& l, bool owns_kv, const RowMap& rows,
                    const KvPages& pages, const KvLayer& kv, Mat h, Mat normed) const {
  Arena::Scope scope(a);
  const int head = l.attention.head_dim;
  Mat q = a.New(h.rows, l.attention.heads * head);
  if (owns_kv) {
    Mat k = a.New(h.rows, l.attention.kv_heads * head), v = a.New(h.rows, k.cols);
    b.MatmulAll({{q, &l.q}, {k, &l.k}, {v, &l.v}}, normed);
    b.NormAppend(kv, q, k, v, l.q_norm, l.k_norm, config_.eps, l.rope, rows, pages);
  } else {
    b.Matmul(q, normed, l.q);
    b.HeadNormRope(q, l.q_norm, config_.eps, rows.positions, l.rope);
  }
  Mat attended = a.New(q.rows, q.cols, b.Operands());
  b.Attention(attended, q, kv, rows, pages, l.attention);
  b.Matmul(h, attended, l.output);
  b.AllReduce(h);
}

// Gemma4TextDecoderLayer, in place on x [rows, dim]. normed: x's norm, this layer's before, the
// next one's (after the last layer: that of the logits) afterwards. ple: [rows, ple], this layer's
// own input.
void Gemma4::RunLayer(Backend& b, Arena& a, int index, const RowMap& rows, const Step& step,
                      const KvCache& cache, Mat x, Mat normed, Mat ple) const {
  const Layer& l = layers_[index];
  Arena::Scope scope(a);
  Mat h = a.New(x.rows, x.cols);
  Attend(b, a, l, l.kv_source == index, rows, l.sliding ? step.sliding : step.full,
         cache.layers[l.kv_source], h, normed);
  b.AddNormNorm(normed, x, h, l.attention_post_norm, nullptr, l.ffn_norm, config_.eps);

  Mat gated = a.New(x.rows, l.ffn, b.Operands()), up = a.New(x.rows, l.ffn);
  b.GatedMatmul(gated, up, normed, l.gate, l.up, Gelu::kTanh);
  b.Matmul(h, gated, l.down);
  b.AllReduce(h);
  b.AddNorm(x, h, l.ffn_post_norm, config_.eps);

  Mat p = a.New(x.rows, ple.cols, b.Operands());
  b.MatmulGelu(p, x, l.ple_gate, ple, Gelu::kTanh);
  b.Matmul(h, p, l.ple_projection);
  const Weight& next =
      index + 1 < config_.layers ? layers_[index + 1].attention_norm : output_norm_;
  b.AddNormNorm(normed, x, h, l.ple_post_norm, &l.scale, next, config_.eps);
}

// Gemma4ForCausalLM: tied embedding and softcap over the normed rows.
void Gemma4::Logits(Backend& b, Mat logits, Mat normed, const Tap& tap) const {
  if (tap) tap("norm", normed);
  b.Matmul(logits, normed, head_);
  if (config_.softcap > 0) b.Softcap(logits, config_.softcap);
  if (tap) tap("logits", logits);
}

void Gemma4::Forward(Backend& b, Arena& a, Mat logits, const Step& step, const KvCache& cache,
                     const Tap& tap) const {
  const auto run = [&](int first, int last, const RowMap& rows, Mat x, Mat normed, Mat ple) {
    for (int i = first; i < last; ++i) {
      RunLayer(b, a, i, rows, step, cache, x, normed,
               ple.Cols(i * config_.ple_dim, config_.ple_dim));
      if (tap) tap(absl::StrCat("layer", i), x);
    }
  };
  Mat x = a.New(step.tokens.rows, config_.dim), normed = a.New(x.rows, x.cols, b.Operands());
  b.Embed(x, step.tokens, token_table_, std::sqrt(static_cast<float>(config_.dim)));
  if (step.soft.rows > 0) b.ScatterRows(x, step.soft, step.soft_index);
  if (tap) tap("embed", x);
  Mat ple = PerLayerInputs(b, a, step.tokens, x);
  if (tap) tap("per_layer_inputs", ple);
  b.RmsNorm(normed, x, &layers_.front().attention_norm, config_.eps);
  run(0, last_owner_ + 1, step.rows, x, normed, ple);
  if (step.tail_index.rows == 0) return;

  const auto tail = [&](Mat all) {
    Mat rows = a.New(step.tail_index.rows, all.cols, all.type);
    b.GatherRows(rows, all, step.tail_index);
    return rows;
  };
  x = tail(x), normed = tail(normed), ple = tail(ple);
  run(last_owner_ + 1, config_.layers, step.tail, x, normed, ple);
  Logits(b, logits, normed, tap);
}

size_t Gemma4::WorkspaceBytes(const Backend& of, int rows, int tail_rows) const {
  NullBackend backend(of.Operands());
  Arena arena(nullptr);
  const auto index = [](int n) { return Mat{nullptr, n, 1, 1, DType::kI32}; };
  const Step step{.tokens = index(rows),
                  .rows = {index(rows), index(rows)},
                  .tail_index = index(tail_rows),
                  .tail = {index(tail_rows), index(tail_rows)}};
  const KvCache cache{.layers = std::vector<KvLayer>(layers_.size())};
  Forward(backend, arena, arena.New(tail_rows, config_.vocab), step, cache);
  return arena.Peak();
}

absl::StatusOr<KvCache> Gemma4::AllocateCache(Backend& backend, int full_rows, int sliding_rows,
                                              DType type) const {
  const auto lay_out = [&](Arena& arena) {
    std::vector<KvLayer> layers(layers_.size());
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& l = layers_[i];
      if (l.kv_source != static_cast<int>(i)) continue;
      const int rows = l.sliding ? sliding_rows : full_rows;
      const int width = l.attention.kv_heads * l.attention.head_dim;
      layers[i] = {arena.New(rows, width, type), arena.New(rows, width, type)};
    }
    return layers;
  };
  // One buffer: layers that each began with a huge page would all touch their next one in the same
  // step, which then takes as long as clearing a hundred megabytes.
  Arena size(nullptr);
  lay_out(size);
  ASSIGN_OR_RETURN(std::shared_ptr<void> memory, backend.Allocate(size.Peak()));
  Arena arena(memory.get());
  return KvCache{.layers = lay_out(arena), .memory = std::move(memory)};
}

void Gemma4::CopyRows(Backend& backend, const KvCache& cache, bool sliding, int from, int to,
                      Mat numbers) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].kv_source != static_cast<int>(i) || layers_[i].sliding != sliding) continue;
    for (const Mat& mat : {cache.layers[i].k, cache.layers[i].v}) {
      backend.GatherRows(mat.Rows(to, numbers.rows), mat.Rows(from, numbers.rows), numbers);
    }
  }
}

size_t Gemma4::CacheBytesPerRow(bool sliding, DType type) const {
  size_t bytes = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& l = layers_[i];
    if (l.kv_source != static_cast<int>(i) || l.sliding != sliding) continue;
    bytes += 2 * static_cast<size_t>(l.attention.kv_heads * l.attention.head_dim) * SizeOf(type);
  }
  return bytes;
}

}  // namespace softsplice
