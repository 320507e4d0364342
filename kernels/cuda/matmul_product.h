// One product of the matmul kernels: its operands, and what becomes of its sums.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/gates.h"
#include "kernels/cuda/output.h"
#include "kernels/cuda/tiles.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {

// The right side. Columns past the last one count as zeroes.
struct Operand {
  const void* data;
  int rows, cols;
  size_t pitch;  // numbers from one row to the next
  bool is_bfloat16;
  float lo, hi;  // what it is clamped to
  size_t part;   // numbers from one part of a split x to the next
};

enum class Gate : uint8_t { kNone, kTanh, kQuick, kSelf };

// What one launch may multiply the same x by besides: weights of the same format and columns.
inline constexpr int kMostOthers = 2;
struct Other {
  const uint8_t* strips;
  int outs;
  void* y;
  size_t y_pitch;
  float lo, hi;
};

// y = clamp(x W^T), gate(clamp(x W^T)) * times, silu(clamp(x W^T)), or gate(clamp(x W0^T)) *
// clamp(x W1^T).
struct Product {
  const uint8_t* strips[2];  // the weight and null, or gate and up
  size_t strip_bytes, tiles_bytes;
  int outs, chunks;  // of one weight
  int parts;         // of the columns (tiles.h)
  Operand x;
  void* y;
  size_t y_pitch;
  bool y_is_bfloat16;
  float y_lo, y_hi;    // of bfloat16
  float lo, hi;        // what sums are clamped to
  float up_lo, up_hi;  // those of a pair's second weight
  Gate gate;
  View<const float> times;  // what one weight's gate is for
  Other others[kMostOthers];

  // The product that this block has a part of.
  __device__ __forceinline__ Product Own() const {
    Product own = *this;
    if (blockIdx.z == 0) return own;
    const Other& other = blockIdx.z == 1 ? others[0] : others[1];
    own.strips[0] = other.strips;
    own.outs = other.outs;
    own.y = other.y;
    own.y_pitch = other.y_pitch;
    own.lo = other.lo;
    own.hi = other.hi;
    return own;
  }
  __device__ bool IsPair() const { return strips[1] != nullptr; }
  __device__ float Gated(float sum) const {
    return gate == Gate::kTanh ? TanhGelu{}(sum) : QuickGelu{}(sum);
  }
  // What the sums of a pair become; and one alone, which has TimesOf().
  __device__ float Finished(float sum, float up) const {
    if (IsPair()) return Gated(Clamp(sum, lo, hi)) * Clamp(up, up_lo, up_hi);
    sum = Clamp(sum, lo, hi);
    if (gate == Gate::kNone) return sum;
    return gate == Gate::kSelf ? SelfGate{}(sum) : Gated(sum) * up;
  }
  __device__ float TimesOf(int token, int out) const {
    const bool has_times = gate == Gate::kTanh || gate == Gate::kQuick;
    return has_times ? times.Row(token)[out] : 1;
  }
  __device__ int LastStrip() const { return (outs - 1) / kStripRows; }
  // How many times kStrips strips, as StripOf() gives them to a block or warp.
  template <int kStrips>
  __device__ int Blocks() const {
    constexpr int kOfPair = (kStrips + 1) / 2;
    return LastStrip() / (IsPair() ? kOfPair : kStrips) + 1;
  }
  __device__ int FirstChunk(int slice) const {
    return min(chunks * parts * slice / kSlices, chunks);
  }
};

// Where strip `strip` of those that a warp or block has begins: kStrips of one weight in turn, or
// half as many of each of two, the first one's first. `index` counts warps or blocks; past the last
// strip it is the last one.
template <int kStrips>
__device__ __forceinline__ const uint8_t* StripOf(const Product& p, int index, int strip) {
  constexpr int kOfPair = (kStrips + 1) / 2;  // as a constant: no division
  const int at = p.IsPair() ? kOfPair * index + strip % kOfPair : kStrips * index + strip;
  const uint8_t* weight = p.IsPair() && strip >= kOfPair ? p.strips[1] : p.strips[0];
  return weight + static_cast<size_t>(min(at, p.LastStrip())) * p.strip_bytes;
}

__device__ __forceinline__ void Store(const Product& p, int token, int out, float value) {
  const size_t at = static_cast<size_t>(token) * p.y_pitch + static_cast<size_t>(out);
  if (p.y_is_bfloat16) {
    static_cast<uint16_t*>(p.y)[at] = FloatToBFloat16(Clamp(value, p.y_lo, p.y_hi));
  } else {
    static_cast<float*>(p.y)[at] = value;
  }
}

// Stores what sums of strips `index` (as above) in row `row` of each have become.
template <int kStrips>
__device__ __forceinline__ void Finish(const Product& p, int index, int row, int token,
                                       const float (&sums)[kStrips]) {
  if (token >= p.x.rows) return;
  if (p.IsPair()) {
    constexpr int kOfWeight = (kStrips + 1) / 2;
#pragma unroll
    for (int strip = 0; strip < kOfWeight; ++strip) {
      const int out = (kOfWeight * index + strip) * kStripRows + row;
      if (out >= p.outs) continue;
      Store(p, token, out, p.Finished(sums[strip], sums[kStrips - kOfWeight + strip]));
    }
    return;
  }
#pragma unroll
  for (int strip = 0; strip < kStrips; ++strip) {
    const int out = (kStrips * index + strip) * kStripRows + row;
    if (out >= p.outs) continue;
    Store(p, token, out, p.Finished(sums[strip], p.TimesOf(token, out)));
  }
}

}  // namespace softsplice::cuda
