// See patches.h.
#include "encoder_svc/image/patches.h"

#include <array>

namespace softsplice {

Patches MakePatches(const Picture& picture, int patch) {
  std::array<float, 256> scaled;
  for (size_t p = 0; p < scaled.size(); ++p) {
    // The processor multiplies in float64 and rounds to float32; the model does the rest.
    scaled[p] = 2 * (static_cast<float>(static_cast<double>(p) * (1.0 / 255)) - 0.5f);
  }
  Patches patches;
  patches.grid_columns = picture.width / patch;
  patches.grid_rows = picture.height / patch;
  const auto span = static_cast<size_t>(patch) * 3;
  patches.values.resize(picture.rgb.size());
  float* out = patches.values.data();
  for (int row = 0; row < patches.grid_rows; ++row) {
    for (int column = 0; column < patches.grid_columns; ++column) {
      patches.columns.push_back(column);
      patches.rows.push_back(row);
      for (int y = 0; y < patch; ++y) {
        const uint8_t* in = picture.Row(row * patch + y) + static_cast<size_t>(column) * span;
        for (size_t i = 0; i < span; ++i) *out++ = scaled[in[i]];
      }
    }
  }
  return patches;
}

}  // namespace softsplice
