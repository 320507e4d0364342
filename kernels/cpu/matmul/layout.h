// Sizes of the packed layouts, and one output's part of them.
#pragma once

#include <cstddef>

#include "kernels/cpu/matmul/codes.h"
#include "kernels/cpu/matmul/kernels.h"

namespace softsplice {

// Inputs per unit; 1 for floats.
int UnitInputs(Layout layout);

// Bytes of a unit's header and of each of its blocks (floats: of one input), for one panel.
struct UnitBytes {
  size_t header = 0;
  size_t block = 0;
};
UnitBytes BytesOf(Layout layout, int panel);

// Writes output `o` of a panel, block `block` of its unit. Quantised layouts.
void StoreCodes(Layout layout, char* unit, int block, int panel, int o, const Codes& codes);

}  // namespace softsplice
