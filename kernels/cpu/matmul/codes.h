// How the CPU packs each quantised type: its layout, and from blocks taken apart to a panel.
#pragma once

#include <cstdint>

#include "common/gguf/types.h"
#include "kernels/cpu/matmul/kernels.h"

namespace softsplice {

// The rows of a tensor that one panel holds.
struct PanelSource {
  const uint8_t* data = nullptr;  // the first row
  size_t row_bytes = 0;
  int count = 0;
  int cols = 0;

  const uint8_t* Row(int o) const { return data + static_cast<size_t>(o) * row_bytes; }
};

struct QuantType {
  gguf::Type type;
  Layout layout;
  // Fills one panel of `panel` outputs.
  void (*pack)(char* dst, int panel, const PanelSource& source);
};

// Null: no integer kernel for this type.
const QuantType* FindQuantType(gguf::Type type);

}  // namespace softsplice
