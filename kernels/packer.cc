#include "kernels/packer.h"

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

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

// From (channel, pixel) to (pixel, channel) order in every kernel.
std::vector<float> ChannelsLast(const std::vector<float>& from, size_t channels, size_t pixels) {
  std::vector<float> to(from.size());
  for (size_t kernel = 0; kernel < from.size(); kernel += channels * pixels) {
    for (size_t channel = 0; channel < channels; ++channel) {
      for (size_t i = 0; i < pixels; ++i) {
        to[kernel + channels * i + channel] = from[kernel + channel * pixels + i];
      }
    }
  }
  return to;
}

// Whether a number has all bits of `exponent` set, as infinities and NaNs have. In a form that
// compilers vectorise: a file of a gigabyte passes here.
template <class Bits>
bool HasExponent(const gguf::Tensor& tensor, Bits exponent) {
  Bits found = 0;
  const size_t count = tensor.bytes / sizeof(Bits);
  for (size_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, tensor.data + i * sizeof(Bits), sizeof(bits));
    found |= (bits & exponent) == exponent;
  }
  return found != 0;
}

bool IsFinite(const gguf::Tensor& tensor) {
  switch (tensor.type) {
    case gguf::Type::kF32:
      return !HasExponent<uint32_t>(tensor, 0x7F800000);
    case gguf::Type::kF16:
      return !HasExponent<uint16_t>(tensor, 0x7C00);
    case gguf::Type::kBF16:
      return !HasExponent<uint16_t>(tensor, 0x7F80);
    default:
      return true;
  }
}

}  // namespace

absl::Status CheckFinite(const gguf::File& file, const gguf::Tensor& tensor) {
  if (IsFinite(tensor)) return absl::OkStatus();
  return InvalidFile(file.path(), absl::StrCat("tensor ", tensor.name,
                                               " has values that are infinite or no numbers"));
}

absl::Status Packer::Vector(Weight& weight, absl::string_view name, int size) const {
  return Pack(weight, name, {size}, Use::kVector);
}

absl::Status Packer::Matrix(Weight& weight, absl::string_view name, int cols, int rows) const {
  return Pack(weight, name, {cols, rows}, Use::kVector);
}

absl::Status Packer::Scaled(Weight& weight, absl::string_view tensor, int size,
                            float factor) const {
  ASSIGN_OR_RETURN(const gguf::Tensor* found, Find(tensor, {size}));
  std::vector<float> values = Floats(*found);
  for (float& value : values) value *= factor;
  ASSIGN_OR_RETURN(weight, backend_.Pack(View(found->name, {size}, values), Use::kVector));
  backend_.Packed(found->bytes);
  return absl::OkStatus();
}

absl::Status Packer::Linear(Weight& weight, absl::string_view name, int in, int out,
                            gguf::Split split) const {
  if (split == gguf::Split::kNone) return Pack(weight, name, {in, out}, Use::kLinear);
  ASSIGN_OR_RETURN(const gguf::Tensor* tensor, Find(absl::StrCat(name, ".weight"), {in, out}));
  ASSIGN_OR_RETURN(weight, backend_.PackPart(*tensor, split));
  Done(*tensor);
  return absl::OkStatus();
}

absl::Status Packer::Table(Weight& weight, absl::string_view name, int width, int entries,
                           Use use) const {
  return Pack(weight, name, {width, entries}, use);
}

absl::Status Packer::Clipped(Weight& weight, absl::string_view name, int in, int out) const {
  RETURN_IF_ERROR(Linear(weight, name, in, out));
  RETURN_IF_ERROR(Bound(weight.in_lo, name, "input_min"));
  RETURN_IF_ERROR(Bound(weight.in_hi, name, "input_max"));
  RETURN_IF_ERROR(Bound(weight.out_lo, name, "output_min"));
  return Bound(weight.out_hi, name, "output_max");
}

absl::Status Packer::Convolution(Weight& weight, absl::string_view name, int size, int channels,
                                 int out) const {
  ASSIGN_OR_RETURN(const gguf::Tensor* kernel,
                   Find(absl::StrCat(name, ".weight"), {size, size, channels, out}));
  const int pixels = size * size;
  const std::vector<float> columns =
      ChannelsLast(Floats(*kernel), static_cast<size_t>(channels), static_cast<size_t>(pixels));
  ASSIGN_OR_RETURN(
      weight,
      backend_.Pack(View(kernel->name, {int64_t{channels} * pixels, out}, columns), Use::kLinear));
  Done(*kernel);
  return absl::OkStatus();
}

absl::Status Packer::Pack(Weight& weight, absl::string_view name,
                          std::initializer_list<int64_t> dims, Use use) const {
  ASSIGN_OR_RETURN(const gguf::Tensor* tensor, Find(absl::StrCat(name, ".weight"), dims));
  ASSIGN_OR_RETURN(weight, backend_.Pack(*tensor, use));
  if (use == Use::kTable || use == Use::kLargeTable) {
    backend_.Packed(tensor->bytes);  // which may read the file's pages on
  } else {
    Done(*tensor);
  }
  return absl::OkStatus();
}

absl::StatusOr<const gguf::Tensor*> Packer::Find(absl::string_view tensor,
                                                 std::initializer_list<int64_t> dims) const {
  ASSIGN_OR_RETURN(const gguf::Tensor* found, file_.Find(absl::StrCat(prefix_, tensor), dims));
  if (values_ == Values::kFinite) RETURN_IF_ERROR(CheckFinite(file_, *found));
  return found;
}

void Packer::Done(const gguf::Tensor& tensor) const {
  file_.DropPages(tensor);
  backend_.Packed(tensor.bytes);
}

// Leaves `bound` alone if the file does not have it.
absl::Status Packer::Bound(float& bound, absl::string_view name, absl::string_view which) const {
  const std::string full = absl::StrCat(prefix_, name, ".", which);
  if (file_.FindOptional(full) == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const float* value, file_.FindF32(full, {1}));
  bound = *value;
  return absl::OkStatus();
}

}  // namespace softsplice
