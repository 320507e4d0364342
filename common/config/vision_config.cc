#include "common/config/vision_config.h"

#include "absl/strings/str_cat.h"
#include "common/config/keys.h"
#include "common/config/mmproj.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr int kMaxLayers = 1024;
constexpr int kMaxDim = 1 << 16;
constexpr int kMaxHeads = 1024;
constexpr int kMaxFfn = 1 << 20;
constexpr int kMaxPatch = 256;
constexpr int kMaxPool = 16;
constexpr int kMaxPositions = 1 << 20;

absl::Status CheckTensors(const gguf::File& file, VisionConfig& c) {
  ASSIGN_OR_RETURN(const gguf::Tensor* positions,
                   file.Find("v.position_embd.weight", {c.dim, -1, 2}));
  if (positions->dims[1] > kMaxPositions) {
    return InvalidFile(file.path(), absl::StrCat("v.position_embd.weight has ", positions->dims[1],
                                                 " positions, the limit is ", kMaxPositions));
  }
  c.positions = static_cast<int>(positions->dims[1]);
  RETURN_IF_ERROR(file.Find("v.patch_embd.weight", {c.patch, c.patch, 3, c.dim}).status());
  return file.Find("mm.input_projection.weight", {c.dim, c.projection_dim}).status();
}

}  // namespace

absl::StatusOr<VisionConfig> VisionConfig::FromGguf(const gguf::File& file) {
  ASSIGN_OR_RETURN(const Towers towers, FindTowers(file));
  RETURN_IF_ERROR(CheckTower(file, towers.image, "image", "clip.vision.", "gemma4v"));
  const Keys keys(file, "clip.vision.");
  VisionConfig c;
  c.name = ModelName(file);
  RETURN_IF_ERROR(keys.Int("block_count", 1, kMaxLayers, c.layers));
  RETURN_IF_ERROR(keys.Int("embedding_length", 1, kMaxDim, c.dim));
  RETURN_IF_ERROR(keys.Int("feed_forward_length", 1, kMaxFfn, c.ffn));
  RETURN_IF_ERROR(keys.Int("projection_dim", 1, kMaxDim, c.projection_dim));
  RETURN_IF_ERROR(keys.Float("attention.layer_norm_epsilon", 1e-12, 0.1, c.eps));
  RETURN_IF_ERROR(keys.OptionalInt("patch_size", 1, kMaxPatch, c.patch));
  RETURN_IF_ERROR(keys.OptionalInt("projector.scale_factor", 1, kMaxPool, c.pool));
  RETURN_IF_ERROR(keys.Int("attention.head_count", 1, kMaxHeads, c.heads));
  // Half of a head rotates by column, half by row, each in pairs.
  if (c.dim % c.heads != 0 || c.HeadDim() % 4 != 0) {
    return keys.Error("attention.head_count", c.heads,
                      absl::StrCat("a divisor of embedding_length ", c.dim,
                                   " that gives heads of a multiple of 4"));
  }
  RETURN_IF_ERROR(CheckTensors(file, c));
  return c;
}

}  // namespace softsplice
