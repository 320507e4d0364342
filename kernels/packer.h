// From the tensors of a file to the weights of a model: what all loaders do.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gguf/file.h"
#include "kernels/backend.h"

namespace softsplice {

// InvalidFile: a float32, float16 or bfloat16 tensor has an infinity or a NaN, which clamps further
// on might make a number again. Quantised ones are for a first pass to try.
absl::Status CheckFinite(const gguf::File& file, const gguf::Tensor& tensor);

// What a loader asks of a tensor besides its shape: CheckFinite, or nothing, where a first pass
// tries all of the model.
enum class Values : uint8_t { kFinite, kAny };

// Packs tensors of one file whose names start with one prefix; once packed, the mapped pages may
// go, but for tables. Errors are the file's (InvalidFile) or the backend's. `name` stands between
// the prefix and ".weight", `tensor` for all behind the prefix.
class Packer {
 public:
  Packer(const gguf::File& file, Backend& backend, std::string prefix,
         Values values = Values::kFinite)
      : file_(file), backend_(backend), prefix_(std::move(prefix)), values_(values) {}

  absl::Status Vector(Weight& weight, absl::string_view name, int size) const;
  // A matrix of factors, row after row, as one vector.
  absl::Status Matrix(Weight& weight, absl::string_view name, int cols, int rows) const;
  // A vector, each number times `factor`.
  absl::Status Scaled(Weight& weight, absl::string_view tensor, int size, float factor = 1) const;
  // Of backends that share the model out, each takes a part of the layer as `split` says: of the
  // columns, its results are to be added to the others' (AllReduce).
  absl::Status Linear(Weight& weight, absl::string_view name, int in, int out,
                      gguf::Split split = gguf::Split::kNone) const;
  absl::Status Table(Weight& weight, absl::string_view name, int width, int entries,
                     Use use = Use::kTable) const;
  // A linear layer that clamps what goes in and comes out (Gemma4ClippableLinear).
  absl::Status Clipped(Weight& weight, absl::string_view name, int in, int out) const;
  // The kernel [out][channels][size][size] of a convolution as a linear layer over patches in (row,
  // column, channel) order.
  absl::Status Convolution(Weight& weight, absl::string_view name, int size, int channels,
                           int out) const;

 private:
  absl::Status Pack(Weight& weight, absl::string_view name, std::initializer_list<int64_t> dims,
                    Use use) const;
  absl::StatusOr<const gguf::Tensor*> Find(absl::string_view tensor,
                                           std::initializer_list<int64_t> dims) const;
  void Done(const gguf::Tensor& tensor) const;
  absl::Status Bound(float& bound, absl::string_view name, absl::string_view which) const;

  const gguf::File& file_;
  Backend& backend_;
  std::string prefix_;
  Values values_;
};

}  // namespace softsplice
