// x in the decode kernel: straight from memory to the tensor core's registers.
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/matmul_sums.h"

namespace softsplice::cuda {

// What x is: kExact is float32 as two bfloat16 parts.
enum class Input : uint8_t { kBFloat16, kFloat32, kExact };
template <Input kInput>
inline constexpr int kPartsOf = kInput == Input::kExact ? 2 : 1;

// x as a lane reads it: token g of each tile of eight.
template <Input kInput, int kTokenTiles>
struct DecodedX {
  static constexpr int kParts = kPartsOf<kInput>;
  using Number = std::conditional_t<kInput == Input::kBFloat16, uint16_t, float>;

  __device__ __forceinline__ explicit DecodedX(const Operand& x) : pitch(x.pitch), cols(x.cols) {
    const int token = blockIdx.x * (8 * kTokenTiles) + threadIdx.x % 32 / 4;
    row = static_cast<const Number*>(x.data) + static_cast<size_t>(token) * x.pitch;
    tokens = x.rows - token;
  }

  // The 16 columns from `col` on.
  __device__ __forceinline__ void Load(uint32_t (&b)[kParts][2], int col, int token_tile) const {
    const int at = col + static_cast<int>(threadIdx.x) % 4 * 4;
    // The number of columns is a multiple of four.
    const bool live = at < cols && 8 * token_tile < tokens;
    const Number* from = row + static_cast<size_t>(8 * token_tile) * pitch + at;
    if constexpr (kInput == Input::kBFloat16) {
      const uint2 words = live ? *reinterpret_cast<const uint2*>(from) : uint2{};
      b[0][0] = words.x;
      b[0][1] = words.y;
    } else {
      const float4 v = live ? *reinterpret_cast<const float4*>(from) : float4{};
      SplitFour(b, {v.x, v.y, v.z, v.w});
    }
  }

  const Number* row;  // of the first tile of tokens
  size_t pitch;
  int tokens;  // from that row on
  int cols;
};

// What AddTile takes for x, the weight's tile beginning at column `col`: of one tile of tokens, in
// registers.
template <Input kInput, int kTileSteps>
struct XInRegisters {
  static constexpr int kParts = kPartsOf<kInput>;

  __device__ __forceinline__ void Begin(const DecodedX<kInput, 1>& x, int col) {
#pragma unroll
    for (int step = 0; step < kTileSteps; ++step) x.Load(words[step], col + 16 * step, 0);
  }
  __device__ __forceinline__ void Load(uint32_t (&b)[kParts][2], int step, int) const {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      b[part][0] = words[step][part][0];
      b[part][1] = words[step][part][1];
    }
  }
  template <int kSteps>
  __device__ __forceinline__ float2 SumsOf(int group, int) const {
    return SumGroup<kSteps, kParts>([&](auto& b, int step) { Load(b, group * kSteps + step, 0); });
  }

  uint32_t words[kTileSteps][kParts][2];
};
// The same from the caches, when it is wanted: of more tiles there is too much for registers.
template <Input kInput, int kTokenTiles>
struct XOnDemand {
  static constexpr int kParts = kPartsOf<kInput>;

  __device__ __forceinline__ void Begin(const DecodedX<kInput, kTokenTiles>& given, int first_col) {
    x = &given;
    col = first_col;
  }
  __device__ __forceinline__ void Load(uint32_t (&b)[kParts][2], int step, int token_tile) const {
    x->Load(b, col + 16 * step, token_tile);
  }
  template <int kSteps>
  __device__ __forceinline__ float2 SumsOf(int group, int token_tile) const {
    return SumGroup<kSteps, kParts>(
        [&](auto& b, int step) { Load(b, group * kSteps + step, token_tile); });
  }

  const DecodedX<kInput, kTokenTiles>* x;
  int col;
};

}  // namespace softsplice::cuda
