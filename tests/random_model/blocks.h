// Random numbers in every tensor type, made at the speed of memory: quantised blocks are drawn as
// bytes, so that no float of them ever exists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/gguf/types.h"

namespace softsplice::random_model {

class Blocks {
 public:
  // Of numbers with a mean near 0 and this standard deviation.
  Blocks(gguf::Type type, float deviation);

  // Fills whole blocks; the same seed gives the same bytes.
  void Fill(absl::Span<uint8_t> bytes, uint64_t seed) const;

 private:
  void Calibrate(float deviation);
  template <class Bits>
  void FillFloats(absl::Span<uint8_t> bytes, uint64_t seed) const;
  void FillCodes(absl::Span<uint8_t> bytes, uint64_t seed) const;

  gguf::Type type_;
  std::vector<uint32_t> values_;  // of a float type: encoded numbers to pick from
  float scale_ = 1;               // of a quantised type
};

}  // namespace softsplice::random_model
