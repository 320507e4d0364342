// Loading of the gemma4 text trunk: which tensors there are, and their shapes.
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "decoder_svc/model/gemma4.h"
#include "kernels/packer.h"

namespace softsplice {
namespace {

using gguf::Split;

// Those of a backend that has so many rows of the queries: whole heads, and their keys.
absl::StatusOr<AttentionSpec> PartOf(AttentionSpec all, int query_rows) {
  const int ranks = all.heads * all.head_dim / query_rows;
  if (all.heads % ranks != 0 || all.kv_heads % ranks != 0) {
    return InvalidField("tensor_parallel", absl::StrCat(all.heads, " heads and ", all.kv_heads,
                                                        " KV heads can't be shared out evenly to ",
                                                        ranks, " devices"));
  }
  all.heads /= ranks;
  all.kv_heads /= ranks;
  return all;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Gemma4>> Gemma4::Load(const gguf::File& file, Backend& backend) {
  ASSIGN_OR_RETURN(TextConfig config, TextConfig::FromGguf(file));
  auto model = std::unique_ptr<Gemma4>(new Gemma4(std::move(config)));
  RETURN_IF_ERROR(model->LoadTop(file, backend));
  for (int i = 0; i < model->config_.layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, model->LoadLayer(file, backend, i));
    if (layer.kv_source == i) model->last_owner_ = i;
    model->layers_.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(backend.Wait());
  return model;
}

absl::Status Gemma4::LoadTop(const gguf::File& file, Backend& backend) {
  const TextConfig& c = config_;
  const Packer pack(file, backend, "", Values::kAny);
  const int ple = c.layers * c.ple_dim;
  RETURN_IF_ERROR(pack.Table(token_table_, "token_embd", c.dim, c.vocab));
  RETURN_IF_ERROR(pack.Linear(head_, c.own_head ? "output" : "token_embd", c.dim, c.vocab));
  RETURN_IF_ERROR(
      pack.Table(per_layer_table_, "per_layer_token_embd", ple, c.vocab, Use::kLargeTable));
  RETURN_IF_ERROR(pack.Linear(per_layer_projection_, "per_layer_model_proj", c.dim, ple));
  RETURN_IF_ERROR(pack.Vector(per_layer_norm_, "per_layer_proj_norm", c.ple_dim));
  RETURN_IF_ERROR(pack.Vector(output_norm_, "output_norm", c.dim));
  return pack.Vector(rope_factors_, "rope_freqs", c.head_dim_full / 2);
}

// k and v tensors of a layer that reads another layer's cache are ignored: some files have them.
absl::StatusOr<Gemma4::Layer> Gemma4::LoadLayer(const gguf::File& file, Backend& backend,
                                                int index) const {
  const TextConfig& c = config_;
  const Packer pack(file, backend, absl::StrCat("blk.", index, "."), Values::kAny);
  Layer l;
  l.sliding = c.is_sliding[index];
  l.kv_source = c.kv_source[index];
  const int head = c.HeadDim(index), kv_heads = c.kv_heads[index];
  l.attention = {
      .heads = c.heads, .kv_heads = kv_heads, .head_dim = head, .window = l.sliding ? c.window : 0};
  l.rope = {.head_dim = head,
            .count = head,
            .base = l.sliding ? c.rope_base_sliding : c.rope_base_full,
            .factors = l.sliding ? nullptr : &rope_factors_};

  RETURN_IF_ERROR(pack.Vector(l.attention_norm, "attn_norm", c.dim));
  RETURN_IF_ERROR(pack.Linear(l.q, "attn_q", c.dim, c.heads * head, Split::kRows));
  ASSIGN_OR_RETURN(l.attention, PartOf(l.attention, l.q.rows));
  RETURN_IF_ERROR(pack.Vector(l.q_norm, "attn_q_norm", head));
  if (l.kv_source == index) {
    RETURN_IF_ERROR(pack.Linear(l.k, "attn_k", c.dim, kv_heads * head, Split::kRows));
    RETURN_IF_ERROR(pack.Vector(l.k_norm, "attn_k_norm", head));
    RETURN_IF_ERROR(pack.Linear(l.v, "attn_v", c.dim, kv_heads * head, Split::kRows));
  }
  RETURN_IF_ERROR(pack.Linear(l.output, "attn_output", c.heads * head, c.dim, Split::kColumns));
  RETURN_IF_ERROR(pack.Vector(l.attention_post_norm, "post_attention_norm", c.dim));

  const int ffn = c.ffn[index];
  RETURN_IF_ERROR(pack.Vector(l.ffn_norm, "ffn_norm", c.dim));
  RETURN_IF_ERROR(pack.Linear(l.gate, "ffn_gate", c.dim, ffn, Split::kRows));
  RETURN_IF_ERROR(pack.Linear(l.up, "ffn_up", c.dim, ffn, Split::kRows));
  RETURN_IF_ERROR(pack.Linear(l.down, "ffn_down", ffn, c.dim, Split::kColumns));
  l.ffn = l.gate.rows;
  RETURN_IF_ERROR(pack.Vector(l.ffn_post_norm, "post_ffw_norm", c.dim));

  RETURN_IF_ERROR(pack.Linear(l.ple_gate, "inp_gate", c.dim, c.ple_dim));
  RETURN_IF_ERROR(pack.Linear(l.ple_projection, "proj", c.ple_dim, c.dim));
  RETURN_IF_ERROR(pack.Vector(l.ple_post_norm, "post_norm", c.dim));
  RETURN_IF_ERROR(pack.Vector(l.scale, "layer_output_scale", 1));
  return l;
}

}  // namespace softsplice
