// The packed body of a linear layer's Weight.
#pragma once

#include <memory>

#include "kernels/cpu/matmul/kernels.h"

namespace softsplice {

struct PackedLinear {
  const MatmulKernels* kernels = nullptr;
  Layout layout = Layout::kF32;
  int depth = 0;          // inputs, padded
  int unit = 0;           // inputs per unit of the layout
  size_t unit_bytes = 0;  // of one panel
  size_t panel_bytes = 0;
  std::shared_ptr<void> data;

  const char* panels() const { return static_cast<const char*>(data.get()); }
  bool IsFloat() const { return layout <= Layout::kBF16; }
};

}  // namespace softsplice
