// A tile (tiles.h) as a lane of a warp holds it.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/tiles.h"

namespace softsplice::cuda {

// SpecOf(kFormat) as constants: device code can't call it.
template <Format kFormat>
struct Layout {
  static constexpr FormatSpec kSpec = SpecOf(kFormat);
  static constexpr Codes kCodes = kSpec.codes;
  static constexpr Scales kScales = kSpec.scales;
  static constexpr uint32_t kOffset = kSpec.offset;
  static constexpr int kColumns = kSpec.Columns();
  static constexpr int kCodeWords = kSpec.CodeWords();
  static constexpr int kScaleWords = kSpec.ScaleWords();
  static constexpr int kGroup = kSpec.Group();
  static constexpr int kParts = kSpec.Parts();
  static constexpr bool kHasScale = kScales != Scales::kNone;
  static constexpr bool kHasMin = kSpec.HasMin();
  static constexpr bool kHasSuper = kSpec.HasSuper();
  static constexpr int kWords = kCodeWords + kScaleWords + (kHasSuper ? 2 : 0);  // of a lane
  static constexpr size_t kTileBytes = kSpec.TileBytes();
};

// What a lane has of one tile.
template <Format kFormat>
struct Tile {
  uint32_t codes[Layout<kFormat>::kCodeWords];
  uint32_t scales[Layout<kFormat>::kHasScale ? Layout<kFormat>::kScaleWords : 1];
  uint32_t supers[2];  // of outputs g and g + 8
};

// Of a weight that the kernel reads once, or again and again.
template <bool kOnce, class T>
__device__ __forceinline__ T LoadWords(const uint8_t* at, int index) {
  const T* words = reinterpret_cast<const T*>(at) + index;
  return kOnce ? __ldcs(words) : __ldg(words);
}

// `strip` and `supers` are the first tile's and the first super scales' bytes.
template <Format kFormat, bool kOnce>
__device__ __forceinline__ Tile<kFormat> LoadTile(const uint8_t* strip, const uint8_t* supers,
                                                  int index, int lane) {
  using L = Layout<kFormat>;
  const uint8_t* at = strip + static_cast<size_t>(index) * L::kTileBytes;
  Tile<kFormat> tile = {};
#pragma unroll
  for (int i = 0; i < L::kCodeWords / 4; ++i, at += 32 * sizeof(uint4)) {
    const uint4 words = LoadWords<kOnce, uint4>(at, lane);
    tile.codes[4 * i] = words.x;
    tile.codes[4 * i + 1] = words.y;
    tile.codes[4 * i + 2] = words.z;
    tile.codes[4 * i + 3] = words.w;
  }
  if constexpr (L::kCodeWords % 4 == 2) {
    const uint2 words = LoadWords<kOnce, uint2>(at, lane);
    tile.codes[L::kCodeWords - 2] = words.x;
    tile.codes[L::kCodeWords - 1] = words.y;
    at += 32 * sizeof(uint2);
  }
  if constexpr (L::kScaleWords == 2) {
    const uint2 words = LoadWords<kOnce, uint2>(at, lane / 4);
    tile.scales[0] = words.x;
    tile.scales[1] = words.y;
  }
  if constexpr (L::kScaleWords == 4) {
    const uint4 words = LoadWords<kOnce, uint4>(at, lane / 4);
    tile.scales[0] = words.x;
    tile.scales[1] = words.y;
    tile.scales[2] = words.z;
    tile.scales[3] = words.w;
  }
  if constexpr (L::kHasSuper) {
    const int super = index * L::kColumns / kSuperColumns;
    const uint2 words = LoadWords<false, uint2>(supers + super * kSuperBytes, lane / 4);
    tile.supers[0] = words.x;
    tile.supers[1] = words.y;
  }
  return tile;
}

}  // namespace softsplice::cuda
