// Loading of weights, the way both towers do it.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/gguf/file.h"
#include "kernels/backend.h"

namespace softsplice {

// InvalidFile: a float32, float16 or bfloat16 tensor has an infinity or a NaN, which clamps further
// on might make a number again. Quantised ones are for a first pass to try.
absl::Status CheckFinite(const gguf::File& file, const gguf::Tensor& tensor);

// Packs tensors of one file whose names start with one prefix, all finite; once packed, the mapped
// pages may go. Errors are the file's (InvalidFile) or the backend's. `name` stands between the
// prefix and
// ".weight", `tensor` for all behind the prefix.
class Packer {
 public:
  Packer(const gguf::File& file, Backend& backend, std::string prefix)
      : file_(file), backend_(backend), prefix_(std::move(prefix)) {}

  absl::Status Vector(Weight& weight, absl::string_view name, int size) const;
  // A matrix of factors, row after row, as one vector.
  absl::Status Matrix(Weight& weight, absl::string_view name, int cols, int rows) const;
  // A vector, each number times `factor`.
  absl::Status Scaled(Weight& weight, absl::string_view tensor, int size, float factor = 1) const;
  absl::Status Linear(Weight& weight, absl::string_view name, int in, int out) const;
  // A linear layer that clamps what goes in and comes out (Gemma4ClippableLinear).
  absl::Status Clipped(Weight& weight, absl::string_view name, int in, int out) const;
  // The kernel [out][channels][size][size] of a convolution as a linear layer over patches in (row,
  // column, channel) order.
  absl::Status Convolution(Weight& weight, absl::string_view name, int size, int channels,
                           int out) const;

 private:
  absl::Status Pack(Weight& weight, absl::string_view name, std::initializer_list<int64_t> dims,
                    Use use) const;
  absl::Status Bound(float& bound, absl::string_view name, absl::string_view which) const;
  std::string Full(absl::string_view name) const;

  const gguf::File& file_;
  Backend& backend_;
  std::string prefix_;
};

}  // namespace softsplice
