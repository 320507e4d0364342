// See noise.h.
#include "decoder_svc/engine/noise.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace softsplice {
namespace {

// -log(-log(1 - v)) with v uniform in (0, 1), from 53 bits. Small v, of which a double holds all
// digits, give the large noise that decides.
double Gumbel(uint64_t bits) {
  const double v = (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
  return -std::log(-std::log1p(-v));
}

// Gumbel(bits) is less, without a logarithm: -log(1 - v) > v, and v is at least 2^-(1 + the zeros
// that its bits begin with).
double GumbelBound(uint64_t bits) { return (std::countl_zero(bits) + 1) * std::numbers::ln2; }

}  // namespace

// Most tokens are out of the question before their noise is worked out.
void GumbelDraw::Offer(int32_t token, double x) {
  const uint64_t bits = SplitMix(seed_, static_cast<uint64_t>(token));
  if (x + GumbelBound(bits) < best_) return;
  const double score = x + Gumbel(bits);
  if (score < best_ || (score == best_ && token > winner_)) return;
  best_ = score;
  winner_ = token;
}

}  // namespace softsplice
