// Loading of the image tower: which tensors there are, and their shapes.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "encoder_svc/model/vit.h"
#include "kernels/packer.h"

namespace softsplice {
absl::StatusOr<std::unique_ptr<Vit>> Vit::Load(const gguf::File& file, Backend& backend,
                                               Gelu gelu) {
  ASSIGN_OR_RETURN(VisionConfig config, VisionConfig::FromGguf(file));
  auto tower = std::unique_ptr<Vit>(new Vit(std::move(config), backend, gelu));
  RETURN_IF_ERROR(tower->LoadTop(file));
  for (int i = 0; i < tower->config_.layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, tower->LoadLayer(file, i));
    tower->layers_.push_back(std::move(layer));
  }
  RETURN_IF_ERROR(tower->LoadStandardization(file));
  RETURN_IF_ERROR(backend.Wait());
  return tower;
}

absl::Status Vit::LoadTop(const gguf::File& file) {
  const VisionConfig& c = config_;
  RETURN_IF_ERROR(
      Packer(file, backend_, "v.").Convolution(patch_projection_, "patch_embd", c.patch, 3, c.dim));

  // Two tables one after the other: of columns (x), of rows (y).
  ASSIGN_OR_RETURN(const gguf::Tensor* tables,
                   file.Find("v.position_embd.weight", {c.dim, c.positions, 2}));
  RETURN_IF_ERROR(CheckFinite(file, *tables));
  gguf::Tensor half = *tables;
  half.dims = {c.dim, c.positions};
  half.bytes /= 2;
  ASSIGN_OR_RETURN(column_table_, backend_.Pack(half, Use::kTable));
  half.data += half.bytes;
  ASSIGN_OR_RETURN(row_table_, backend_.Pack(half, Use::kTable));

  return Packer(file, backend_, "mm.")
      .Linear(projector_, "input_projection", c.dim, c.projection_dim);
}

absl::StatusOr<Vit::Layer> Vit::LoadLayer(const gguf::File& file, int index) const {
  const VisionConfig& c = config_;
  const Packer pack(file, backend_, absl::StrCat("v.blk.", index, "."));
  Layer l;
  RETURN_IF_ERROR(pack.Vector(l.attention_norm, "ln1", c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.q, "attn_q", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.k, "attn_k", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.v, "attn_v", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.output, "attn_out", c.dim, c.dim));
  RETURN_IF_ERROR(pack.Vector(l.q_norm, "attn_q_norm", c.HeadDim()));
  RETURN_IF_ERROR(pack.Vector(l.k_norm, "attn_k_norm", c.HeadDim()));
  RETURN_IF_ERROR(pack.Vector(l.attention_post_norm, "attn_post_norm", c.dim));
  RETURN_IF_ERROR(pack.Vector(l.ffn_norm, "ln2", c.dim));
  RETURN_IF_ERROR(pack.Clipped(l.gate, "ffn_gate", c.dim, c.ffn));
  RETURN_IF_ERROR(pack.Clipped(l.up, "ffn_up", c.dim, c.ffn));
  RETURN_IF_ERROR(pack.Clipped(l.down, "ffn_down", c.ffn, c.dim));
  RETURN_IF_ERROR(pack.Vector(l.ffn_post_norm, "ffn_post_norm", c.dim));
  return l;
}

absl::Status Vit::LoadStandardization(const gguf::File& file) {
  if (file.FindOptional("v.std_bias") == nullptr && file.FindOptional("v.std_scale") == nullptr) {
    return absl::OkStatus();
  }
  const Packer pack(file, backend_, "v.");
  RETURN_IF_ERROR(pack.Scaled(minus_bias_, "std_bias", config_.dim, -1));
  return pack.Scaled(scale_, "std_scale", config_.dim);
}

}  // namespace softsplice
