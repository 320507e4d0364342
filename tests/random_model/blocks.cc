#include "tests/random_model/blocks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "common/gguf/half.h"
#include "tests/support/half_numbers.h"

namespace softsplice::random_model {
namespace {

using gguf::Type;

constexpr size_t kPicks = 4096;  // encoded floats to pick from; a power of two
constexpr size_t kScales = 16;   // a block's scale is one of so many near the wanted one; the same

bool IsFloat(Type type) { return gguf::Info(type).block_elements == 1; }

uint32_t Encode(Type type, float value) {
  if (type == Type::kF16) return FloatToHalf(value);
  if (type == Type::kBF16) return FloatToBF16(value);
  return std::bit_cast<uint32_t>(value);
}

}  // namespace

Blocks::Blocks(Type type, float deviation) : type_(type) {
  if (!IsFloat(type)) {
    Calibrate(deviation);
    return;
  }
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, deviation);
  for (size_t i = 0; i < kPicks; ++i) values_.push_back(Encode(type, normal(random)));
}

// Finds the scale by what blocks of scale 1 hold.
void Blocks::Calibrate(float deviation) {
  constexpr size_t kBlocks = 256;
  const gguf::TypeInfo& info = gguf::Info(type_);
  std::vector<uint8_t> bytes(kBlocks * static_cast<size_t>(info.block_bytes));
  std::vector<float> numbers(kBlocks * static_cast<size_t>(info.block_elements));
  Fill(absl::MakeSpan(bytes), 1);
  gguf::Dequantize(type_, bytes.data(), numbers.data(), static_cast<int64_t>(numbers.size()));
  const double squares =
      std::inner_product(numbers.begin(), numbers.end(), numbers.begin(), double{0});
  scale_ = deviation / static_cast<float>(std::sqrt(squares / static_cast<double>(numbers.size())));
}

void Blocks::Fill(absl::Span<uint8_t> bytes, uint64_t seed) const {
  if (type_ == Type::kF32) return FillFloats<uint32_t>(bytes, seed);
  if (IsFloat(type_)) return FillFloats<uint16_t>(bytes, seed);
  FillCodes(bytes, seed);
}

template <class Bits>
void Blocks::FillFloats(absl::Span<uint8_t> bytes, uint64_t seed) const {
  std::mt19937_64 random(seed);
  uint64_t word = 0;
  for (size_t i = 0; i < bytes.size() / sizeof(Bits); ++i, word >>= 16) {
    if (i % 4 == 0) word = random();
    const Bits bits = static_cast<Bits>(values_[word % kPicks]);
    std::memcpy(&bytes[i * sizeof(Bits)], &bits, sizeof bits);
  }
}

void Blocks::FillCodes(absl::Span<uint8_t> bytes, uint64_t seed) const {
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(&bytes[i], &word, std::min(sizeof word, bytes.size() - i));
  }
  const HalfNumbers halves = HalfNumbersOf(type_);
  uint16_t scales[kScales], minimums[kScales];
  for (size_t i = 0; i < kScales; ++i) {
    const float scale = scale_ * (0.85f + 0.02f * static_cast<float>(i));
    scales[i] = FloatToHalf(scale);
    minimums[i] = FloatToHalf(scale * halves.centre);
  }
  const size_t step = static_cast<size_t>(gguf::Info(type_).block_bytes);
  for (size_t block = 0; block < bytes.size(); block += step) {
    const size_t pick = bytes[block + halves.scale] % kScales;
    std::memcpy(&bytes[block + halves.scale], &scales[pick], sizeof scales[pick]);
    if (halves.centre == 0) continue;
    std::memcpy(&bytes[block + halves.minimum], &minimums[pick], sizeof minimums[pick]);
  }
}

}  // namespace softsplice::random_model
