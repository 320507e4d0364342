// kernels/cuda/warpgroup.h on the CPU. A warp's part of a product is its own affair: it is made
// when it is waited for, of what its operands are then. Included by emulation.h.
#pragma once

#include <cstdint>

#include "common/gguf/half.h"

#define SOFTSPLICE_HAS_WARPGROUPS 1

namespace emulation {

// A lane's part: outputs g and g + 8 of the warp's 16, tokens 2t and 2t + 1 of each tile.
inline void Multiply(const Product& p) {
  struct Words {
    uint32_t of[4];
  } mine;
  std::memcpy(mine.of, p.a, sizeof(mine.of));
  const Words* lanes = Exchange(mine);
  const int g = Lane() / 4, t = Lane() % 4;
  float a[2][16];
  for (int i = 0; i < 32; ++i) {
    const int k = i % 16;
    const uint32_t word = lanes[4 * g + k % 8 / 2].of[i / 16 + k / 8 * 2];
    a[i / 16][k] = softsplice::BF16ToFloat(static_cast<uint16_t>(word >> k % 2 * 16));
  }
  const auto* numbers = static_cast<const uint16_t*>(p.rows);
  for (int tile = 0; tile < p.tiles; ++tile) {
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = p.adds ? p.d[tile][i] : 0;
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      for (int i = 0; i < 4; ++i) {
        const int token = 8 * tile + 2 * t + i % 2;
        const int piece = (2 * p.step + k / 8) ^ token % 8;
        sums[i] += a[i / 2][k] * softsplice::BF16ToFloat(numbers[token * 64 + piece * 8 + k % 8]);
      }
    }
    std::memcpy(p.d[tile], sums, sizeof(sums));
  }
}

inline void MultiplyAllBut(int groups) {
  for (Product product; NextProduct(groups, product);) Multiply(product);
}

}  // namespace emulation

namespace softsplice::cuda {

template <int kTokenTiles>
void BeginProducts(float (&d)[kTokenTiles][4], const uint32_t (&a)[4], const void* rows, int step,
                   bool adds) {
  emulation::RequireAligned(rows, 1024);
  emulation::BeginProduct({d, kTokenTiles, a, rows, step, adds});
}
template <int kSteps, int kParts>
void FenceRegisters(uint32_t (&)[kSteps][kParts][4]) {}
inline void CommitProducts() { emulation::CommitProducts(); }
template <int kGroups>
void WaitForProducts() {
  emulation::MultiplyAllBut(kGroups);
}
template <int kGroups, int kTokenTiles>
void WaitForProducts(float (&)[kTokenTiles][4]) {
  emulation::MultiplyAllBut(kGroups);
}

}  // namespace softsplice::cuda
