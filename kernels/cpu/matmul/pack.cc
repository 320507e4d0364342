// Weights from a GGUF tensor into panels (see kernels.h for the layouts), panel by panel on all
// threads.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/matmul/codes.h"
#include "kernels/cpu/matmul/matmul.h"
#include "kernels/cpu/matmul/packed.h"

namespace softsplice {
namespace {

using gguf::Type;

int RoundUp(int a, int b) { return (a + b - 1) / b * b; }

Layout FloatLayout(Type type) {
  if (type == Type::kF16) return Layout::kF16;
  if (type == Type::kBF16) return Layout::kBF16;
  return Layout::kF32;
}

size_t BlockBytes(Layout layout, int panel) {
  const size_t outs = static_cast<size_t>(panel);
  switch (layout) {
    case Layout::kF32:
      return 4 * outs;
    case Layout::kF16:
    case Layout::kBF16:
      return 2 * outs;
    case Layout::kNibbleCentred:
      return (kBlock / 2 + 2) * outs;
    case Layout::kNibbleMin:
      return (kBlock / 2 + 4) * outs;
    case Layout::kCount:
      break;
  }
  return 0;
}

// The rows of one panel.
struct PanelSource {
  const gguf::Tensor& tensor;
  int first = 0;
  int count = 0;

  const uint8_t* Row(int o) const {
    return tensor.data + static_cast<size_t>(first + o) * tensor.RowBytes();
  }
};

// dst[k][panel]. `Number` is float for all types that are dequantised.
template <class Number>
void PackFloats(char* dst, const PanelSource& source, int panel) {
  constexpr int kRun = 256;  // a multiple of every type's block
  const gguf::TypeInfo& info = gguf::Info(source.tensor.type);
  const int cols = static_cast<int>(source.tensor.Cols());
  Number run[kRun];
  for (int k = 0; k < cols; k += kRun) {
    const int n = std::min(kRun, cols - k);
    for (int o = 0; o < source.count; ++o) {
      const uint8_t* in = source.Row(o) + static_cast<size_t>(k / info.block_elements) *
                                              static_cast<size_t>(info.block_bytes);
      if constexpr (sizeof(Number) == 4) {
        gguf::Dequantize(info.type, in, run, n);
      } else {
        std::memcpy(run, in, static_cast<size_t>(n) * sizeof(Number));
      }
      char* out = dst + (static_cast<size_t>(k) * static_cast<size_t>(panel) +
                         static_cast<size_t>(o)) * sizeof(Number);
      for (int i = 0; i < n; ++i, out += static_cast<size_t>(panel) * sizeof(Number)) {
        std::memcpy(out, run + i, sizeof(Number));
      }
    }
  }
}

void StoreHalf(char* dst, float value) {
  const _Float16 half = static_cast<_Float16>(value);
  std::memcpy(dst, &half, sizeof half);
}

// Output o's part of one block.
void StoreNibbles(char* dst, const Codes& codes, int panel, int o, bool min) {
  StoreHalf(dst + 2 * o, codes.scale[0]);
  dst += 2 * panel;
  if (min) {
    StoreHalf(dst + 2 * o, codes.min[0]);
    dst += 2 * panel;
  }
  const int lanes = panel / 2;
  for (int k = 0; k < kBlock / 2; k += 4) {
    char* out = dst + (k / 4 * panel + o / lanes * lanes + o % lanes) * 4;
    for (int i = k; i < k + 4; ++i) {
      *out++ = static_cast<char>(codes.code[i] | codes.code[i + kBlock / 2] << 4);
    }
  }
}

void PackCodes(char* dst, const PanelSource& source, int panel, const QuantType& quant) {
  const int blocks = static_cast<int>(source.tensor.Cols()) / kBlock;
  const size_t block_bytes = BlockBytes(quant.layout, panel);
  for (int b = 0; b < blocks; ++b, dst += block_bytes) {
    for (int o = 0; o < source.count; ++o) {
      Codes codes;
      quant.decode(source.Row(o), b, &codes);
      StoreNibbles(dst, codes, panel, o, quant.layout == Layout::kNibbleMin);
    }
  }
}

const Kernels& KernelsFor(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return cpu_avx512::kMatmulKernels;
    case Isa::kAvx2:
      return cpu_avx2::kMatmulKernels;
    case Isa::kGeneric:
      break;
  }
  return cpu_generic::kMatmulKernels;
}

}  // namespace

absl::StatusOr<Weight> PackLinearFor(const gguf::Tensor& tensor, const Kernels& kernels,
                                     bool exact_weights, ThreadPool& pool) {
  const QuantType* quant = exact_weights ? nullptr : FindQuantType(tensor.type);
  auto packed = std::make_shared<PackedLinear>();
  Weight weight;
  weight.rows = static_cast<int>(tensor.Rows());
  weight.cols = static_cast<int>(tensor.Cols());
  packed->kernels = &kernels;
  packed->layout = quant != nullptr ? quant->layout : FloatLayout(tensor.type);
  packed->depth = quant != nullptr ? weight.cols : RoundUp(weight.cols, kDepthChunk);
  packed->block_bytes = BlockBytes(packed->layout, kernels.panel);
  packed->panel_bytes = packed->block_bytes *
                        static_cast<size_t>(quant != nullptr ? packed->depth / kBlock : packed->depth);
  const int panels = RoundUp(weight.rows, kernels.panel) / kernels.panel;
  packed->data = HugeBuffer(packed->panel_bytes * static_cast<size_t>(panels));
  if (packed->data.data() == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "out of memory for ", tensor.name, ": ",
        packed->panel_bytes * static_cast<size_t>(panels), " bytes"));
  }
  pool.ParallelFor(panels, 1, [&](int begin, int end) {
    for (int p = begin; p < end; ++p) {
      char* dst = packed->data.data() + static_cast<size_t>(p) * packed->panel_bytes;
      const int first = p * kernels.panel;
      const PanelSource source{tensor, first, std::min(kernels.panel, weight.rows - first)};
      if (quant != nullptr) {
        PackCodes(dst, source, kernels.panel, *quant);
      } else if (packed->layout == Layout::kF32) {
        PackFloats<float>(dst, source, kernels.panel);
      } else {
        PackFloats<uint16_t>(dst, source, kernels.panel);
      }
    }
  });
  weight.packed = std::move(packed);
  return weight;
}

absl::StatusOr<Weight> PackLinear(const gguf::Tensor& tensor, Isa isa, bool exact_weights,
                                  ThreadPool& pool) {
  return PackLinearFor(tensor, KernelsFor(isa), exact_weights, pool);
}

}  // namespace softsplice
