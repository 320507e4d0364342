// Pixels to the rows that the image tower takes.
#pragma once

#include <cstdint>
#include <vector>

#include "encoder_svc/image/picture.h"

namespace softsplice {

// Patches in reading order. A row of `values` is one patch: y, x, channel from slowest to fastest,
// each 2 (p/255 - 0.5) (Gemma4ImageProcessorPil, Gemma4VisionPatchEmbedder).
struct Patches {
  int grid_columns = 0;
  int grid_rows = 0;
  std::vector<float> values;     // [grid_rows * grid_columns, patch * patch * 3]
  std::vector<int32_t> columns;  // of each patch in the grid
  std::vector<int32_t> rows;
};

// Both sides of `picture` are multiples of `patch`.
Patches MakePatches(const Picture& picture, int patch);

}  // namespace softsplice
