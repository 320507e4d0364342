// The inner loop of the resize.
#pragma once

#include <cstddef>
#include <cstdint>

namespace softsplice {

// Fixed point of the filter's weights (Pillow's PRECISION_BITS: 32 - 8 bits of a sample - 2).
inline constexpr int kWeightBits = 22;

// out[i] = clamp(round(sum_t weights[t] * in[t * pitch + i]), 0, 255) for i < n, t < taps, with
// weights in fixed point; the sum of their sizes is below 2^23 (a filter's is about 1.3 * 2^22).
// `out` and `in` must not overlap. Uses AVX2 where the machine has it; the result is the same
// everywhere.
void WeightedRows(uint8_t* out, const uint8_t* in, size_t pitch, const int32_t* weights, int taps,
                  size_t n);

}  // namespace softsplice
