// Loading of the audio tower: which tensors there are, and their shapes. Some of their names
// mislead: "conv_norm" comes before the light convolution and "norm_conv" inside it, "ln2" ends the
// layer, "pre_encode.out" comes after all layers.
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "encoder_svc/model/conformer.h"
#include "kernels/packer.h"

namespace softsplice {
namespace {

// Gemma4AudioRelPositionalEncoding: sines and cosines of each distance, [context, dim].
std::vector<float> Sinusoids(const AudioConfig& c) {
  const int waves = c.dim / 2;
  const double step = std::log(double{c.timescale}) / std::max(waves - 1, 1);
  std::vector<float> rows(static_cast<size_t>(c.context) * static_cast<size_t>(c.dim));
  for (int distance = 0; distance < c.context; ++distance) {
    float* row = rows.data() + static_cast<size_t>(distance) * static_cast<size_t>(c.dim);
    for (int i = 0; i < waves; ++i) {
      const double angle = distance * std::exp(-step * i);
      row[i] = static_cast<float>(std::sin(angle));
      row[waves + i] = static_cast<float>(std::cos(angle));
    }
  }
  return rows;
}

std::string Block(int index) { return absl::StrCat("a.blk.", index, "."); }

}  // namespace

absl::StatusOr<std::unique_ptr<Conformer>> Conformer::Load(const gguf::File& file,
                                                           Backend& backend) {
  ASSIGN_OR_RETURN(AudioConfig config, AudioConfig::FromGguf(file));
  auto tower = std::unique_ptr<Conformer>(new Conformer(std::move(config), backend));
  RETURN_IF_ERROR(tower->LoadTop(file));
  for (int i = 0; i < tower->config_.layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, tower->LoadLayer(file, i));
    tower->layers_.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(tower->LoadRelativeKeys(file));
  return tower;
}

absl::Status Conformer::LoadTop(const gguf::File& file) {
  const AudioConfig& c = config_;
  const Packer pack(file, backend_, "a.");
  int channels = 1;
  for (int i = 0; i < 2; ++i) {
    const std::string name = absl::StrCat("conv1d.", i);
    const int out = c.conv_channels[i];
    RETURN_IF_ERROR(pack.Convolution(convolutions_[i].kernel, name, 3, channels, out));
    RETURN_IF_ERROR(pack.Vector(convolutions_[i].norm, absl::StrCat(name, ".norm"), out));
    channels = out;
  }
  RETURN_IF_ERROR(
      pack.Linear(input_projection_, "input_projection", c.mel_bins / 4 * channels, c.dim));
  RETURN_IF_ERROR(pack.Linear(output_projection_, "pre_encode.out", c.dim, c.output_dim));
  RETURN_IF_ERROR(pack.Scaled(output_bias_, "pre_encode.out.bias", c.output_dim));
  return Packer(file, backend_, "mm.a.")
      .Linear(projector_, "input_projection", c.output_dim, c.projection_dim);
}

absl::StatusOr<Conformer::Layer> Conformer::LoadLayer(const gguf::File& file, int index) const {
  const AudioConfig& c = config_;
  const Packer pack(file, backend_, Block(index));
  Layer l;
  for (const auto& [s, end] : {std::pair(&l.first, ""), std::pair(&l.second, "_1")}) {
    RETURN_IF_ERROR(pack.Vector(s->norm, absl::StrCat("ffn_norm", end), c.dim));
    RETURN_IF_ERROR(pack.Clipped(s->up, absl::StrCat("ffn_up", end), c.dim, c.ffn));
    RETURN_IF_ERROR(pack.Clipped(s->down, absl::StrCat("ffn_down", end), c.ffn, c.dim));
    RETURN_IF_ERROR(
        pack.Scaled(s->half_post_norm, absl::StrCat("ffn_post_norm", end, ".weight"), c.dim, 0.5f));
  }
  // The file has softplus(per_dim_scale).
  const float q_scale =
      1 / (std::sqrt(static_cast<float>(c.HeadDim())) * std::numbers::ln2_v<float>);
  RETURN_IF_ERROR(pack.Vector(l.attention_norm, "attn_pre_norm", c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.q, "attn_q", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.k, "attn_k", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.v, "attn_v", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Scaled(l.q_scale, "per_dim_scale.weight", c.HeadDim(), q_scale));
  RETURN_IF_ERROR(pack.Clipped(l.output, "attn_out", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Vector(l.attention_post_norm, "attn_post_norm", c.dim));
  RETURN_IF_ERROR(pack.Vector(l.convolution_norm, "conv_norm", c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.convolution_in, "conv_pw1", c.dim, 2 * c.dim));
  RETURN_IF_ERROR(pack.Matrix(l.depthwise, "conv_dw", c.kernel, c.dim));
  RETURN_IF_ERROR(pack.Vector(l.depthwise_norm, "norm_conv", c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.convolution_out, "conv_pw2", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Vector(l.output_norm, "ln2", c.dim));
  return l;
}

// relative_k_proj of the sinusoids: the same for every sound.
absl::Status Conformer::LoadRelativeKeys(const gguf::File& file) {
  const AudioConfig& c = config_;
  Arena sizes(nullptr);
  for (int i = 0; i <= c.layers; ++i) sizes.New(c.context, c.dim);
  ASSIGN_OR_RETURN(relative_keys_, backend_.Allocate(sizes.Peak()));
  Arena arena(relative_keys_.get());
  Mat sinusoids = arena.New(c.context, c.dim);
  const std::vector<float> host = Sinusoids(c);
  backend_.Upload(sinusoids, host.data());
  for (int i = 0; i < c.layers; ++i) {
    Weight projection;
    RETURN_IF_ERROR(
        Packer(file, backend_, Block(i)).Linear(projection, "attn_k_rel", c.dim, c.dim));
    layers_[static_cast<size_t>(i)].relative = arena.New(c.context, c.dim);
    backend_.Matmul(layers_[static_cast<size_t>(i)].relative, sinusoids, projection);
    RETURN_IF_ERROR(backend_.Wait());
  }
  return absl::OkStatus();
}

}  // namespace softsplice
