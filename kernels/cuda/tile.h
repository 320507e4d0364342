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

// From shared memory: `at` are the tile's bytes, `super` those of its super scales. A piece of
// scales is that of `kLanes` lanes.
template <Format kFormat, int kLanes = 4>
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
    const uint2 words = LoadWords<uint2>(at, lane / kLanes);
    tile.scales[0] = words.x;
    tile.scales[1] = words.y;
  }
  if constexpr (L::kScaleWords == 4) {
    const uint4 words = LoadWords<uint4>(at, lane / kLanes);
    tile.scales[0] = words.x;
    tile.scales[1] = words.y;
    tile.scales[2] = words.z;
    tile.scales[3] = words.w;
  }
  if constexpr (L::kHasSuper) {
    const uint2 words = LoadWords<uint2>(super, lane / kLanes);
    tile.supers[0] = words.x;
    tile.supers[1] = words.y;
  }
  return tile;
}

// A tile in shared memory where each lane has words of its own, so that a warp needs no barrier:
// pieces of scales stand there once for each lane, and super scales behind them.
template <Format kFormat>
struct OwnTile {
  using L = Layout<kFormat>;
  static constexpr int kCodes = 32 * 4 * L::kCodeWords;
  static constexpr int kScales = 32 * 4 * L::kScaleWords;
  static constexpr int kSupers = L::kHasSuper ? 32 * 8 : 0;

  // Begins to copy the lane's words from the device's memory, where they lie as in a strip.
  __device__ __forceinline__ void Begin(const uint8_t* at, const uint8_t* super, int lane) {
#pragma unroll
    for (int i = 0; i < L::kCodeWords / 4; ++i) {
      CopyAsync(bytes + (32 * i + lane) * 16, at + (32 * i + lane) * 16);
    }
    if constexpr (L::kCodeWords % 4 == 2) {
      constexpr int kDone = L::kCodeWords / 4 * 32 * 16;
      CopyAsync<8>(bytes + kDone + lane * 8, at + kDone + lane * 8);
    }
    if constexpr (L::kHasScale) {
      constexpr int kPiece = 4 * L::kScaleWords;
      CopyAsync<kPiece>(bytes + kCodes + lane * kPiece, at + kCodes + lane / 4 * kPiece);
    }
    if constexpr (L::kHasSuper) {
      CopyAsync<8>(bytes + kCodes + kScales + lane * 8, super + lane / 4 * 8);
    }
  }
  // Once the copies are waited for.
  __device__ __forceinline__ Tile<kFormat> Load(int lane) const {
    return LoadTile<kFormat, 1>(bytes, bytes + kCodes + kScales, lane);
  }

  alignas(16) uint8_t bytes[kCodes + kScales + kSupers];
};

}  // namespace softsplice::cuda
