// Loading of the image tower: which tensors there are, and their shapes.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/model/vit.h"

namespace softsplice {
namespace {

// A tensor of our own numbers, in ggml's order of dimensions.
gguf::Tensor View(absl::string_view name, std::vector<int64_t> dims,
                  const std::vector<float>& values) {
  return {.name = std::string(name),
          .type = gguf::Type::kF32,
          .dims = std::move(dims),
          .data = reinterpret_cast<const uint8_t*>(values.data()),
          .bytes = values.size() * sizeof(float)};
}

std::vector<float> Floats(const gguf::Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.Elements()));
  gguf::Dequantize(tensor.type, tensor.data, values.data(), tensor.Elements());
  return values;
}

// Packs tensors of one file under one prefix; once packed, the mapped pages may go.
class Packer {
 public:
  Packer(const gguf::File& file, Backend& backend, std::string prefix)
      : file_(file), backend_(backend), prefix_(std::move(prefix)) {}

  absl::Status Vector(Weight& weight, absl::string_view name, int size) const {
    return Pack(weight, name, {size}, Use::kVector);
  }
  absl::Status Linear(Weight& weight, absl::string_view name, int in, int out) const {
    return Pack(weight, name, {in, out}, Use::kLinear);
  }
  // A linear layer that clamps what goes in and comes out (Gemma4ClippableLinear).
  absl::Status Clipped(Weight& weight, absl::string_view name, int in, int out) const {
    RETURN_IF_ERROR(Linear(weight, name, in, out));
    RETURN_IF_ERROR(Bound(weight.in_lo, name, "input_min"));
    RETURN_IF_ERROR(Bound(weight.in_hi, name, "input_max"));
    RETURN_IF_ERROR(Bound(weight.out_lo, name, "output_min"));
    return Bound(weight.out_hi, name, "output_max");
  }

 private:
  absl::Status Pack(Weight& weight, absl::string_view name, std::initializer_list<int64_t> dims,
                    Use use) const {
    ASSIGN_OR_RETURN(const gguf::Tensor* tensor,
                     file_.Find(absl::StrCat(prefix_, name, ".weight"), dims));
    ASSIGN_OR_RETURN(weight, backend_.Pack(*tensor, use));
    file_.DropPages(*tensor);
    return absl::OkStatus();
  }

  // Leaves `bound` alone if the file does not have it.
  absl::Status Bound(float& bound, absl::string_view name, absl::string_view which) const {
    const std::string full = absl::StrCat(prefix_, name, ".", which);
    if (file_.FindOptional(full) == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(const float* value, file_.FindF32(full, {1}));
    bound = *value;
    return absl::OkStatus();
  }

  const gguf::File& file_;
  Backend& backend_;
  std::string prefix_;
};

// The file has the patch projection as a convolution's kernel [out][channel][y][x]; patches are
// (y, x, channel).
std::vector<float> PatchColumns(const gguf::Tensor& kernel, int patch) {
  const std::vector<float> from = Floats(kernel);
  std::vector<float> to(from.size());
  const size_t pixels = static_cast<size_t>(patch) * static_cast<size_t>(patch);
  for (size_t out = 0; out < from.size(); out += 3 * pixels) {
    for (size_t channel = 0; channel < 3; ++channel) {
      for (size_t i = 0; i < pixels; ++i) {
        to[out + 3 * i + channel] = from[out + channel * pixels + i];
      }
    }
  }
  return to;
}

}  // namespace

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
  ASSIGN_OR_RETURN(const gguf::Tensor* kernel,
                   file.Find("v.patch_embd.weight", {c.patch, c.patch, 3, c.dim}));
  const std::vector<float> columns = PatchColumns(*kernel, c.patch);
  ASSIGN_OR_RETURN(
      patch_projection_,
      backend_.Pack(View(kernel->name, {int64_t{3} * c.patch * c.patch, c.dim}, columns),
                    Use::kLinear));
  file.DropPages(*kernel);

  // Two tables one after the other: of columns (x), of rows (y).
  ASSIGN_OR_RETURN(const gguf::Tensor* tables,
                   file.Find("v.position_embd.weight", {c.dim, c.positions, 2}));
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
  ASSIGN_OR_RETURN(const gguf::Tensor* bias, file.Find("v.std_bias", {config_.dim}));
  ASSIGN_OR_RETURN(const gguf::Tensor* scale, file.Find("v.std_scale", {config_.dim}));
  minus_bias_values_ = Floats(*bias);
  for (float& value : minus_bias_values_) value = -value;
  ASSIGN_OR_RETURN(
      minus_bias_,
      backend_.Pack(View(bias->name, {config_.dim, 1}, minus_bias_values_), Use::kTable));
  // A product with a diagonal matrix: no other op multiplies columns, and the rows are few.
  const std::vector<float> factors = Floats(*scale);
  std::vector<float> diagonal(factors.size() * factors.size());
  for (size_t i = 0; i < factors.size(); ++i) diagonal[i * (factors.size() + 1)] = factors[i];
  ASSIGN_OR_RETURN(
      scale_, backend_.Pack(View(scale->name, {config_.dim, config_.dim}, diagonal), Use::kLinear));
  return absl::OkStatus();
}

}  // namespace softsplice
