// The text file.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "tests/random_model/tensors.h"

namespace softsplice::random_model {
namespace {

using gguf::Type;

// Which type each tensor has.
struct Recipe {
  Type linear;
  Type finer;       // of v and down in some layers
  Type table;       // of both token tables, one of which is the head
  Type projection;  // of per_layer_model_proj, which is never quantised
};

absl::StatusOr<Recipe> RecipeOf(absl::string_view name) {
  if (name == "Q4_K_M") return Recipe{Type::kQ4_K, Type::kQ6_K, Type::kQ6_K, Type::kBF16};
  ASSIGN_OR_RETURN(const Type type, TypeOf(name));
  if (gguf::Info(type).block_elements == 1) return Recipe{type, type, type, type};
  return Recipe{type, type, type == Type::kQ8_0 ? type : Type::kQ6_K, Type::kBF16};
}

// The layers to which llama.cpp's quantiser gives more bits.
bool IsFiner(int layer, int layers) {
  const int eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

bool IsFull(const TextShape& s, int layer) { return layer % s.group == s.group - 1; }

int SharingLayers(const TextShape& s) {
  return s.layers / s.group * s.sharing_of_seven / 7 * s.group;
}

bool OwnsKv(const TextShape& s, int layer) { return layer < s.layers - SharingLayers(s); }

int Ffn(const TextShape& s, int layer) { return OwnsKv(s, layer) ? s.ffn : s.sharing_ffn * s.ffn; }

// One number, or an array where layers differ, as llama.cpp's converter writes it.
void AddFfnLength(gguf::GgufWriter& out, const TextShape& s) {
  constexpr char kKey[] = "gemma4.feed_forward_length";
  std::vector<int> lengths;
  for (int i = 0; i < s.layers; ++i) lengths.push_back(Ffn(s, i));
  if (s.sharing_ffn == 1) {
    out.U32(kKey, static_cast<uint32_t>(s.ffn));
  } else {
    out.I32s(kKey, lengths);
  }
}

void AddMetadata(gguf::GgufWriter& out, const TextShape& s) {
  const auto count = [&](const std::string& key, int value) {
    out.U32("gemma4." + key, static_cast<uint32_t>(value));
  };
  out.String("general.architecture", "gemma4").String("general.name", "random Gemma 4");
  count("block_count", s.layers);
  count("context_length", 131072);
  count("embedding_length", s.dim);
  AddFfnLength(out, s);
  count("embedding_length_per_layer_input", s.ple_dim);
  count("attention.head_count", s.heads);
  count("attention.head_count_kv", s.kv_heads);
  for (const char* key : {"attention.key_length", "attention.value_length"}) {
    count(key, 2 * s.head_dim);
    count(absl::StrCat(key, "_swa"), s.head_dim);
  }
  count("rope.dimension_count", 2 * s.head_dim);
  count("rope.dimension_count_swa", s.head_dim);
  count("attention.sliding_window", s.window);
  count("attention.shared_kv_layers", SharingLayers(s));
  std::vector<bool> sliding;
  for (int i = 0; i < s.layers; ++i) sliding.push_back(!IsFull(s, i));
  out.Bools("gemma4.attention.sliding_window_pattern", sliding);
  out.F32("gemma4.rope.freq_base", 1e6f).F32("gemma4.rope.freq_base_swa", 1e4f);
  out.F32("gemma4.attention.layer_norm_rms_epsilon", 1e-6f);
  out.F32("gemma4.final_logit_softcapping", 30);
}

// A quarter of the full layers' pairs rotate.
std::vector<float> RopeDivisors(int full_head_dim) {
  std::vector<float> divisors(static_cast<size_t>(full_head_dim / 2), 1e30f);
  std::fill_n(divisors.begin(), divisors.size() / 4, 1.0f);
  return divisors;
}

// The head is the token table: were they all positive, each token would predict itself.
std::vector<float> MixedSigns(int count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = (0.6f + 0.1f * static_cast<float>(i % 9)) * (i % 2 == 0 ? 1.0f : -1.0f);
  }
  return values;
}

void AddLayer(Model& model, const TextShape& s, const Recipe& types, int index) {
  Tensors add(model, absl::StrCat("blk.", index, "."));
  const int head = IsFull(s, index) ? 2 * s.head_dim : s.head_dim;
  const Type finer = IsFiner(index, s.layers) ? types.finer : types.linear;
  add.Uniform("attn_norm.weight", s.dim, 0.6f, 1.6f);
  add.Linear("attn_q", types.linear, s.dim, s.heads * head);
  add.Uniform("attn_q_norm.weight", head, 0.3f, 0.5f);
  if (OwnsKv(s, index)) {
    add.Linear("attn_k", types.linear, s.dim, s.kv_heads * head);
    add.Linear("attn_v", finer, s.dim, s.kv_heads * head);
    add.Uniform("attn_k_norm.weight", head, 0.2f, 0.4f);
  }
  add.Linear("attn_output", types.linear, s.heads * head, s.dim);
  add.Uniform("post_attention_norm.weight", s.dim, 0.1f, 0.5f);
  add.Uniform("ffn_norm.weight", s.dim, 0.6f, 1.6f);
  add.Linear("ffn_gate", types.linear, s.dim, Ffn(s, index));
  add.Linear("ffn_up", types.linear, s.dim, Ffn(s, index));
  add.Linear("ffn_down", finer, Ffn(s, index), s.dim);
  add.Uniform("post_ffw_norm.weight", s.dim, 0.1f, 0.5f);
  add.Linear("inp_gate", types.linear, s.dim, s.ple_dim, 0.5);
  add.Linear("proj", types.linear, s.ple_dim, s.dim);
  add.Uniform("post_norm.weight", s.dim, 0.05f, 0.3f);
  add.Uniform("layer_output_scale.weight", 1, 0.9f, 1.05f);
}

}  // namespace

absl::StatusOr<Model> TextModel(const TextShape& s, absl::string_view type,
                                gguf::GgufWriter vocabulary, int tokens) {
  if (s.layers < s.group || s.layers % s.group != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(s.layers, " layers; a multiple of ", s.group, " is needed"));
  }
  ASSIGN_OR_RETURN(const Recipe types, RecipeOf(type));
  Model model{std::move(vocabulary), {}};
  AddMetadata(model.metadata, s);
  Tensors add(model);
  const int ple_row = s.layers * s.ple_dim;
  add.Values("rope_freqs.weight", RopeDivisors(2 * s.head_dim));
  add.Linear("token_embd", types.table, s.dim, tokens, 3.2);
  add.Normal("per_layer_token_embd.weight", types.table,
             {static_cast<uint64_t>(ple_row), static_cast<uint64_t>(tokens)},
             1 / std::sqrt(s.ple_dim));
  add.Linear("per_layer_model_proj", types.projection, s.dim, ple_row);
  add.Uniform("per_layer_proj_norm.weight", s.ple_dim, 0.5f, 1.5f);
  add.Values("output_norm.weight", MixedSigns(s.dim));
  for (int i = 0; i < s.layers; ++i) AddLayer(model, s, types, i);
  return model;
}

}  // namespace softsplice::random_model
