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
  static constexpr size_t kTileBytes = kSpec.TileBytes();
};

// What a lane has of one tile.
template <Format kFormat>
struct Tile {
  uint32_t codes[Layout<kFormat>::kCodeWords];
  uint32_t scales[Layout<kFormat>::kHasScale ? Layout<kFormat>::kScaleWords : 1];
  uint32_t supers[2];  // of outputs g and g + 8
};

// How far from the first one's the super scales of a strip's tile `index` are.
template <Format kFormat>
__device__ __forceinline__ size_t SuperOffset(int index) {
  return static_cast<size_t>(index * Layout<kFormat>::kColumns / kSuperColumns) * kSuperBytes;
}

template <class T>
__device__ __forceinline__ T LoadWords(const uint8_t* at, int index) {
  return reinterpret_cast<const T*>(at)[index];
}

// From shared memory: `at` are the tile's bytes, `super` those of its super scales.
template <Format kFormat>
__device__ __forceinline__ Tile<kFormat> LoadTile(const uint8_t* at, const uint8_t* super,
                                                  int lane) {
  using L = Layout<kFormat>;
  Tile<kFormat> tile = {};
#pragma unroll
  for (int i = 0; i < L::kCodeWords / 4; ++i, at += 32 * sizeof(uint4)) {
    const uint4 words = LoadWords<uint4>(at, lane);
    tile.codes[4 * i] = words.x;
    tile.codes[4 * i + 1] = words.y;
    tile.codes[4 * i + 2] = words.z;
    tile.codes[4 * i + 3] = words.w;
  }
  if constexpr (L::kCodeWords % 4 == 2) {
    const uint2 words = LoadWords<uint2>(at, lane);
    tile.codes[L::kCodeWords - 2] = words.x;
    tile.codes[L::kCodeWords - 1] = words.y;
    at += 32 * sizeof(uint2);
  }
  if constexpr (L::kScaleWords == 2) {
    const uint2 words = LoadWords<uint2>(at, lane / 4);
    tile.scales[0] = words.x;
    tile.scales[1] = words.y;
  }
  if constexpr (L::kScaleWords == 4) {
    const uint4 words = LoadWords<uint4>(at, lane / 4);
    tile.scales[0] = words.x;
    tile.scales[1] = words.y;
    tile.scales[2] = words.z;
    tile.scales[3] = words.w;
  }
  if constexpr (L::kHasSuper) {
    const uint2 words = LoadWords<uint2>(super, lane / 4);
    tile.supers[0] = words.x;
    tile.supers[1] = words.y;
  }
  return tile;
}

// Up to kMost tiles of a strip, one after the other as there, which have their super scales in
// common: in shared memory, for a warp.
template <Format kFormat, int kMost>
struct SomeTiles {
  using L = Layout<kFormat>;
  static constexpr int kPieces = static_cast<int>(kMost * L::kTileBytes / 16);

  // Begins to copy some tiles, lane after lane a piece of 16 bytes; both addresses are the lane's.
  __device__ __forceinline__ void Begin(const uint8_t* from, int tiles, const uint8_t* super,
                                        int lane) {
    const int pieces = tiles * static_cast<int>(L::kTileBytes / 16) - lane;
    uint8_t* to = bytes + lane * 16;
#pragma unroll
    for (int i = 0; i < kPieces; i += 32) {
      if (i < pieces) CopyAsync(to + i * 16, from + i * 16);
    }
    if constexpr (L::kHasSuper) {
      if (lane < static_cast<int>(kSuperBytes / 16)) CopyAsync(supers + lane * 16, super);
    }
  }
  // One of them, once the copies are waited for.
  __device__ __forceinline__ Tile<kFormat> Load(int tile, int lane) const {
    return LoadTile<kFormat>(bytes + tile * static_cast<int>(L::kTileBytes), supers, lane);
  }

  alignas(16) uint8_t bytes[kMost * L::kTileBytes];
  alignas(16) uint8_t supers[L::kHasSuper ? kSuperBytes : 16];
};

}  // namespace softsplice::cuda
