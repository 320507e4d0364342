// The mmproj file.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "tests/random_model/tensors.h"

namespace softsplice::random_model {
namespace {

using gguf::Type;

constexpr uint64_t kPatch = 16;
constexpr int kMelBins = 128;
constexpr int kChannels[] = {1, 128,
                             32};  // of the sound's convolutions, the first one's input first
constexpr int kTaps = 5;           // of its depthwise convolutions

void AddTowerMetadata(gguf::GgufWriter& out, const std::string& prefix, const std::string& type,
                      const TowerShape& s, int projection_dim) {
  const auto count = [&](const std::string& key, int value) {
    out.U32(prefix + key, static_cast<uint32_t>(value));
  };
  out.String(prefix + "projector_type", type);
  count("block_count", s.layers);
  count("embedding_length", s.dim);
  count("feed_forward_length", s.ffn);
  count("attention.head_count", s.heads);
  count("projection_dim", projection_dim);
  out.F32(prefix + "attention.layer_norm_epsilon", 1e-6f);
}

void AddImageLayer(Model& model, const TowerShape& s, Type type, int index) {
  Tensors add(model, absl::StrCat("v.blk.", index, "."));
  for (const char* name : {"attn_q", "attn_k", "attn_v"}) add.Clipped(name, type, s.dim, s.dim);
  add.Clipped("attn_out", type, s.dim, s.dim, 1.2f, 1.2f);
  add.Clipped("ffn_gate", type, s.dim, s.ffn, 2.2f, 2.2f, 1.2);
  add.Clipped("ffn_up", type, s.dim, s.ffn);
  add.Clipped("ffn_down", type, s.ffn, s.dim, 1.8f, 1.6f);
  add.Uniform("attn_q_norm.weight", s.dim / s.heads, 0.6f, 1.2f);
  add.Uniform("attn_k_norm.weight", s.dim / s.heads, 0.3f, 0.7f);
  for (const char* name : {"ln1.weight", "ln2.weight"}) add.Uniform(name, s.dim, 0.6f, 1.4f);
  add.Uniform("attn_post_norm.weight", s.dim, 0.2f, 0.6f);
  add.Uniform("ffn_post_norm.weight", s.dim, 0.2f, 0.6f);
}

void AddImageTower(Model& model, const MmprojShape& s, Type type) {
  const auto dim = static_cast<uint64_t>(s.image.dim);
  Tensors add(model);
  // A row of the kernel has 16 numbers: too few for a block.
  const Type plain = gguf::Info(type).block_elements == 1 ? type : Type::kF16;
  add.Normal("v.patch_embd.weight", plain, {kPatch, kPatch, 3, dim},
             1.5 / std::sqrt(3.0 * kPatch * kPatch));
  add.Normal("v.position_embd.weight", Type::kF32, {dim, static_cast<uint64_t>(s.positions), 2},
             0.4);
  for (int i = 0; i < s.image.layers; ++i) AddImageLayer(model, s.image, type, i);
  add.Linear("mm.input_projection", type, s.image.dim, s.projection_dim, 3);
}

void AddSoundLayer(Model& model, const TowerShape& s, Type type, int index) {
  Tensors add(model, absl::StrCat("a.blk.", index, "."));
  for (const std::string end : {"", "_1"}) {
    add.Uniform(absl::StrCat("ffn_norm", end, ".weight"), s.dim, 0.6f, 1.4f);
    add.Clipped("ffn_up" + end, type, s.dim, s.ffn);
    add.Clipped("ffn_down" + end, type, s.ffn, s.dim, 1.8f, 1.2f);
    add.Uniform(absl::StrCat("ffn_post_norm", end, ".weight"), s.dim, 0.3f, 0.8f);
  }
  for (const char* name : {"attn_q", "attn_k", "attn_v"}) add.Clipped(name, type, s.dim, s.dim);
  add.Clipped("attn_out", type, s.dim, s.dim, 1.4f, 1.2f);
  add.Linear("attn_k_rel", type, s.dim, s.dim);
  add.Uniform("per_dim_scale.weight", s.dim / s.heads, 0.5f, 1.0f);
  add.Clipped("conv_pw1", type, s.dim, 2 * s.dim);
  add.Clipped("conv_pw2", type, s.dim, s.dim, 1.8f, 1.4f);
  add.Normal("conv_dw.weight", Type::kF32, {kTaps, static_cast<uint64_t>(s.dim)}, 0.5);
  for (const char* name : {"conv_norm", "norm_conv", "attn_pre_norm", "attn_post_norm", "ln2"}) {
    add.Uniform(absl::StrCat(name, ".weight"), s.dim, 0.6f, 1.4f);
  }
}

void AddSoundTower(Model& model, const MmprojShape& s, Type type) {
  Tensors add(model);
  for (int i = 0; i < 2; ++i) {
    const std::string name = absl::StrCat("a.conv1d.", i);
    const int in = kChannels[i], out = kChannels[i + 1];
    add.Normal(name + ".weight", Type::kF32,
               {3, 3, static_cast<uint64_t>(in), static_cast<uint64_t>(out)},
               1 / std::sqrt(9.0 * in));
    add.Uniform(name + ".norm.weight", out, 0.6f, 1.4f);
  }
  add.Linear("a.input_projection", Type::kF32, kMelBins / 4 * kChannels[2], s.sound.dim, 1.6);
  for (int i = 0; i < s.sound.layers; ++i) AddSoundLayer(model, s.sound, type, i);
  add.Linear("a.pre_encode.out", type, s.sound.dim, s.sound_out);
  add.Uniform("a.pre_encode.out.bias", s.sound_out, -0.3f, 0.3f);
  add.Linear("mm.a.input_projection", type, s.sound_out, s.projection_dim, 3);
}

}  // namespace

absl::StatusOr<Model> MmprojModel(const MmprojShape& s, absl::string_view name) {
  ASSIGN_OR_RETURN(const Type type, TypeOf(name));
  Model model;
  gguf::GgufWriter& out = model.metadata;
  out.String("general.architecture", "clip").String("general.name", "random Gemma 4 mmproj");
  out.Bool("clip.has_vision_encoder", true).Bool("clip.has_audio_encoder", true);
  AddTowerMetadata(out, "clip.vision.", "gemma4v", s.image, s.projection_dim);
  out.U32("clip.vision.patch_size", kPatch);
  // llama.cpp wants them, though the first says nothing and the others change nothing.
  out.U32("clip.vision.image_size", 224);
  out.F32s("clip.vision.image_mean", {0, 0, 0}).F32s("clip.vision.image_std", {1, 1, 1});
  AddTowerMetadata(out, "clip.audio.", "gemma4a", s.sound, s.projection_dim);
  out.U32("clip.audio.num_mel_bins", kMelBins);
  AddImageTower(model, s, type);
  AddSoundTower(model, s, type);
  return model;
}

}  // namespace softsplice::random_model
