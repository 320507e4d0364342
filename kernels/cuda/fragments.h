// Operands of MmaF16 out of 16 x 16 tiles in shared memory, whose rows are kPitch numbers apart.
#pragma once

#include "kernels/cuda/device.h"

namespace softsplice::cuda {

// Between the starts of rows of so many numbers (a multiple of 16): aligned to 16 bytes, and eight
// rows lie in different banks.
template <int kNumbers>
inline constexpr int kPitchOf = kNumbers + 8;

using OperandA = uint32_t[4];
// For 16 columns of the product: of[i] for eight of them.
struct OperandB {
  uint32_t of[2][2];
};

// The places of the four 8 x 8 matrices: below each other first, or beside each other first.
template <int kPitch>
__device__ const uint16_t* Down(const uint16_t* tile) {
  const int lane = threadIdx.x % 32;
  return tile + lane % 16 * kPitch + lane / 16 * 8;
}
template <int kPitch>
__device__ const uint16_t* Across(const uint16_t* tile) {
  const int lane = threadIdx.x % 32;
  return tile + (lane % 8 + lane / 16 * 8) * kPitch + lane / 8 % 2 * 8;
}

// a = the tile.
template <int kPitch>
__device__ void LoadA(OperandA& a, const uint16_t* tile) {
  LoadMatrix(a, Down<kPitch>(tile));
}
// b = the tile; b = its transpose.
template <int kPitch>
__device__ OperandB LoadB(const uint16_t* tile) {
  uint32_t b[4];
  LoadMatrixTransposed(b, Down<kPitch>(tile));
  return {{{b[0], b[1]}, {b[2], b[3]}}};
}
template <int kPitch>
__device__ OperandB LoadTransposedB(const uint16_t* tile) {
  uint32_t b[4];
  LoadMatrix(b, Across<kPitch>(tile));
  return {{{b[0], b[1]}, {b[2], b[3]}}};
}

// An operand of ones: what is multiplied by it is summed.
inline constexpr uint32_t kOnes = 0x3c003c00;

}  // namespace softsplice::cuda
