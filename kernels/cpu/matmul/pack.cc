// Weights from a GGUF tensor into panels (see kernels.h for the layouts), panel by panel on all
// threads.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/status/error.h"
#include "kernels/cpu/matmul/codes.h"
#include "kernels/cpu/matmul/layout.h"
#include "kernels/cpu/matmul/matmul.h"
#include "kernels/cpu/matmul/packed.h"
#include "kernels/host_memory.h"

namespace softsplice {
namespace {

using gguf::Type;

int RoundUp(int a, int b) { return (a + b - 1) / b * b; }

Layout FloatLayout(Type type) {
  if (type == Type::kF16) return Layout::kF16;
  if (type == Type::kBF16) return Layout::kBF16;
  return Layout::kF32;
}

// dst[k][panel]. `Number` is float for all types that are dequantised.
template <class Number>
void PackFloats(char* dst, int panel, const PanelSource& source, gguf::Type type) {
  constexpr int kRun = 256;  // a multiple of every type's block
  const gguf::TypeInfo& info = gguf::Info(type);
  std::vector<Number> runs(static_cast<size_t>(kRun * source.count));
  Number* out = reinterpret_cast<Number*>(dst);
  for (int first = 0; first < source.cols; first += kRun) {
    const int n = std::min(kRun, source.cols - first);
    for (int o = 0; o < source.count; ++o) {
      const uint8_t* in = source.Row(o) + static_cast<size_t>(first / info.block_elements) *
                                              static_cast<size_t>(info.block_bytes);
      Number* run = &runs[static_cast<size_t>(o * kRun)];
      if constexpr (sizeof(Number) == 4) {
        gguf::Dequantize(info.type, in, run, n);
      } else {
        std::memcpy(run, in, static_cast<size_t>(n) * sizeof(Number));
      }
    }
    for (int k = 0; k < n; ++k, out += panel) {
      for (int o = 0; o < source.count; ++o) out[o] = runs[static_cast<size_t>(o * kRun + k)];
    }
  }
}

const QuantType* QuantOf(const gguf::Tensor& tensor, bool exact_weights) {
  return exact_weights ? nullptr : FindQuantType(tensor.type);
}

int Panels(const gguf::Tensor& tensor, const MatmulKernels& kernels) {
  const int rows = static_cast<int>(tensor.Rows());
  return RoundUp(rows, kernels.panel) / kernels.panel;
}

// How `tensor` will lie, without its data.
PackedLinear LayOut(const gguf::Tensor& tensor, const MatmulKernels& kernels, bool exact_weights) {
  const QuantType* quant = QuantOf(tensor, exact_weights);
  const int cols = static_cast<int>(tensor.Cols());
  PackedLinear packed;
  packed.kernels = &kernels;
  packed.layout = quant != nullptr ? quant->layout : FloatLayout(tensor.type);
  packed.depth = quant != nullptr ? cols : RoundUp(cols, kDepthChunk);
  packed.unit = UnitInputs(packed.layout);
  const UnitBytes bytes = BytesOf(packed.layout, kernels.panel);
  packed.unit_bytes =
      bytes.header + bytes.block * static_cast<size_t>(std::max(1, packed.unit / kBlock));
  packed.panel_bytes = packed.unit_bytes * static_cast<size_t>(packed.depth / packed.unit);
  return packed;
}

}  // namespace

size_t PackedLinearBytes(const gguf::Tensor& tensor, const MatmulKernels& kernels,
                         bool exact_weights) {
  return LayOut(tensor, kernels, exact_weights).panel_bytes *
         static_cast<size_t>(Panels(tensor, kernels));
}

absl::StatusOr<Weight> PackLinear(const gguf::Tensor& tensor, const MatmulKernels& kernels,
                                  bool exact_weights, ThreadPool& pool) {
  const QuantType* quant = QuantOf(tensor, exact_weights);
  auto packed = std::make_shared<PackedLinear>(LayOut(tensor, kernels, exact_weights));
  Weight weight;
  weight.rows = static_cast<int>(tensor.Rows());
  weight.cols = static_cast<int>(tensor.Cols());
  const int panels = Panels(tensor, kernels);
  absl::StatusOr<std::shared_ptr<void>> memory =
      AllocateHost(PackedLinearBytes(tensor, kernels, exact_weights));
  if (!memory.ok()) return Annotate(memory.status(), tensor.name);
  packed->data = *std::move(memory);
  const size_t row_bytes = tensor.RowBytes();
  pool.ParallelFor(panels, 1, [&](int begin, int end) {
    for (int p = begin; p < end; ++p) {
      char* dst =
          static_cast<char*>(packed->data.get()) + static_cast<size_t>(p) * packed->panel_bytes;
      const int first = p * kernels.panel;
      const PanelSource source{.data = tensor.data + static_cast<size_t>(first) * row_bytes,
                               .row_bytes = row_bytes,
                               .count = std::min(kernels.panel, weight.rows - first),
                               .cols = weight.cols};
      if (quant != nullptr) {
        quant->pack(dst, kernels.panel, source);
      } else if (packed->layout == Layout::kF32) {
        PackFloats<float>(dst, kernels.panel, source, tensor.type);
      } else {
        PackFloats<uint16_t>(dst, kernels.panel, source, tensor.type);
      }
    }
  });
  weight.packed = std::move(packed);
  return weight;
}

}  // namespace softsplice
