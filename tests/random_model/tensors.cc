#include "tests/random_model/tensors.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace softsplice::random_model {
namespace {

uint64_t Size(int size) { return static_cast<uint64_t>(size); }

}  // namespace

uint64_t Tensor::Bytes() const {
  const gguf::TypeInfo& info = gguf::Info(type);
  uint64_t elements = 1;
  for (const uint64_t dim : dims) elements *= dim;
  return elements / Size(info.block_elements) * Size(info.block_bytes);
}

uint64_t Model::Bytes() const {
  uint64_t bytes = 0;
  for (const Tensor& tensor : tensors) bytes += tensor.Bytes();
  return bytes;
}

void Tensors::Normal(const std::string& name, gguf::Type type, const std::vector<uint64_t>& dims,
                     double deviation) {
  model_.tensors.push_back({.name = prefix_ + name,
                            .type = type,
                            .dims = dims,
                            .deviation = static_cast<float>(deviation)});
}

void Tensors::Linear(const std::string& name, gguf::Type type, int in, int out, double gain) {
  Normal(name + ".weight", type, {Size(in), Size(out)}, gain / std::sqrt(in));
}

void Tensors::Clipped(const std::string& name, gguf::Type type, int in, int out, float bound_in,
                      float bound_out, double gain) {
  Linear(name, type, in, out, gain);
  Values(name + ".input_min", {-bound_in});
  Values(name + ".input_max", {bound_in});
  Values(name + ".output_min", {-bound_out});
  Values(name + ".output_max", {bound_out});
}

void Tensors::Uniform(const std::string& name, int count, float low, float high) {
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(Size(count));
  for (float& value : values) value = uniform(random_);
  Values(name, std::move(values));
}

void Tensors::Values(const std::string& name, std::vector<float> values) {
  model_.tensors.push_back(
      {.name = prefix_ + name, .dims = {values.size()}, .values = std::move(values)});
}

absl::StatusOr<gguf::Type> TypeOf(absl::string_view name) {
  const auto types = gguf::AllTypes();
  const auto found = std::find_if(types.begin(), types.end(),
                                  [&](const gguf::TypeInfo& info) { return info.name == name; });
  if (found != types.end()) return found->type;
  return absl::InvalidArgumentError(
      absl::StrCat("there is no type ", name, "; there are ",
                   absl::StrJoin(types, ", ", [](std::string* out, const gguf::TypeInfo& info) {
                     absl::StrAppend(out, info.name);
                   })));
}

}  // namespace softsplice::random_model
