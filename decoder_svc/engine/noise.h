// Randomness as a function: what is drawn for one token of an answer depends on the seed, the place
// in the answer and the token, and on nothing that happened before. So an answer is the same
// however its work is cut, paused or shared.
#pragma once

#include <cstdint>
#include <limits>

namespace softsplice {

// The n-th number, from 0 on, that SplitMix64 gives from `seed`: 64 random bits as a function of
// both. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014),
// with the constants of java.util.SplittableRandom.
inline uint64_t SplitMix(uint64_t seed, uint64_t n) {
  uint64_t z = seed + (n + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

// Draws one token: of those offered, the one whose x plus Gumbel noise is largest, which is a
// sample of the softmax of x (the Gumbel-max trick). The order in which they are offered does not
// matter.
class GumbelDraw {
 public:
  // For the token at place `index` of the answer.
  GumbelDraw(uint64_t seed, int index) : seed_(SplitMix(seed, index)) {}

  // `x`: logit / temperature, give or take what all tokens share; -infinity is never drawn.
  void Offer(int32_t token, double x);
  // After at least one finite offer.
  int32_t winner() const { return winner_; }

 private:
  const uint64_t seed_;
  double best_ = -std::numeric_limits<double>::infinity();
  int32_t winner_ = -1;
};

}  // namespace softsplice
