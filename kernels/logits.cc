// See logits.h.
#include "kernels/logits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace softsplice {
namespace {

constexpr size_t kBlock = 1024;  // numbers at a time, a power of two

// exp(x) for x <= 0: 2^n e^r with |r| <= ln(2)/2 and the polynomial of Cephes' expf. Under 1e-37 it
// is 0 as far as a sum with a 1 in it goes.
inline float Exp(float x) {
  constexpr float kRound =
      12582912;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float clamped = x > -87.0f ? x : -87.0f;
  const float shifted = clamped * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) + 127) << 23;
  return p * std::bit_cast<float>(exponent);
}

}  // namespace

float FiniteMax(absl::Span<const float> logits) {
  // As integers without their sign, what is not finite is largest.
  constexpr int32_t kInfinity = 0x7f800000;
  float max[kBlock];
  int32_t size[kBlock] = {};
  std::fill_n(max, kBlock, -std::numeric_limits<float>::max());
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - begin);
    const float* x = logits.data() + begin;
    for (size_t i = 0; i < count; ++i) {
      max[i] = x[i] > max[i] ? x[i] : max[i];
      const int32_t bits = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
      size[i] = bits > size[i] ? bits : size[i];
    }
  }
  if (*std::max_element(size, size + kBlock) >= kInfinity) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  return *std::max_element(max, max + kBlock);
}

double SumExp(absl::Span<const float> logits, float max, float scale) {
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - begin);
    const float* x = logits.data() + begin;
    float terms[kBlock] = {};
    for (size_t i = 0; i < count; ++i) terms[i] = Exp((x[i] - max) * scale);
    for (size_t half = kBlock / 2; half > 0; half /= 2) {
      for (size_t i = 0; i < half; ++i) terms[i] += terms[i + half];
    }
    sum += terms[0];
  }
  return sum;
}

// One pass with a threshold: `best` collects what beats the count-th best so far and is cut back
// when it has twice as many as needed.
void BestLogits(absl::Span<const float> logits, size_t count, std::vector<ScoredToken>* best) {
  const auto better = [](const ScoredToken& a, const ScoredToken& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  count = std::min(count, logits.size());
  best->clear();
  float threshold = -std::numeric_limits<float>::infinity();
  const auto cut = [&] {
    std::nth_element(best->begin(), best->begin() + (count - 1), best->end(), better);
    best->resize(count);
    threshold = best->back().logit;
  };
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > threshold)) continue;
    best->push_back({logits[i], static_cast<int32_t>(i)});
    if (best->size() == 2 * count) cut();
  }
  if (best->size() > count) cut();
  std::sort(best->begin(), best->end(), better);
}

}  // namespace softsplice
