// The log-mel frames against the official extractor's, and how many there are of every length.
#include "encoder_svc/audio/mel.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/read_file.h"
#include "tests/support/synth_sound.h"

namespace softsplice {
namespace {

using ::softsplice::testing::ReadFile;
using ::softsplice::testing::SynthSound;

// The official extractor's own way to the counts: padding to a multiple of 128, frames of 321
// samples behind 160 zeros, a mask of those whose last sample is real, and the two convolutions'
// mask[::2].
struct Counts {
  int frames = 0;
  int tokens = 0;
};
Counts OfficialCounts(int samples) {
  const int padded = (samples + 127) / 128 * 128;
  Counts counts;
  for (int frame = 0, last = 320; last < 160 + padded; ++frame, last += 160) {
    const bool valid = last < 160 + samples;
    counts.frames += valid ? 1 : 0;
    counts.tokens += valid && frame % 4 == 0 ? 1 : 0;
  }
  return counts;
}

TEST(Mel, CountsFramesAndTokensOfEveryLengthAsTheOfficialRule) {
  for (int n = 1; n <= 40000; ++n) {
    const Counts want = OfficialCounts(n);
    ASSERT_EQ(MelFrameCount(n), want.frames) << n;
    ASSERT_EQ(SoundTokenCount(want.frames), want.tokens) << n;
  }
  EXPECT_EQ(MelFrameCount(0), 0);
  EXPECT_EQ(SoundTokenCount(0), 0);
  EXPECT_EQ(MelFrameCount(kSegmentSamples), 2999);
  EXPECT_EQ(SoundTokenCount(2999), 750);
}

// tests/data/audio/make_mel.py.
int GeneratedLength(int i) {
  constexpr int kEdges[] = {1,   2,   127, 128, 129,  159,  160,    161,    162,   319,
                            320, 321, 322, 479, 480,  481,  482,    639,    640,   641,
                            642, 799, 801, 961, 1121, 1281, 479999, 480000, 480001};
  if (i < static_cast<int>(std::size(kEdges))) return kEdges[i];
  return static_cast<int>(161 + (int64_t{i} * 2654435761 >> 7) % 6300 * 2);
}

std::vector<float> Tone(int i, int n) {
  std::vector<float> samples;
  for (int64_t t = 0; t < n; ++t) {
    const int64_t phase = t * (1500 + 97 * i) & 0xFFFF, half = phase & 0x7FFF;
    const int64_t arc = half * (32768 - half) / 8192;
    samples.push_back(static_cast<float>(phase < 32768 ? arc : -arc) / 32768);
  }
  return samples;
}

std::vector<float> GeneratedSound(int i) {
  const int n = GeneratedLength(i), kind = i % 8;
  if (kind == 5) return Tone(i, n);
  if (kind == 6)
    return std::vector<float>(static_cast<size_t>(n), 1 - static_cast<float>(i % 3) / 4);
  std::vector<float> samples = SynthSound(i, n);
  for (int t = 0; t < n; ++t) {
    float& x = samples[static_cast<size_t>(t)];
    if (kind == 1) x = x / 4 + 0.5f;
    if (kind == 2) x = std::clamp(x * 8, -1.f, 1.f);
    if (kind == 3) x /= 4096;
    if (kind == 4 && (t < n / 2 || t >= n / 2 + 160)) x = 0;
    if (kind == 7) x *= 4;
  }
  return samples;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : bytes_(ReadFile(path)) {}
  template <typename T>
  T Next() {
    T value{};
    EXPECT_LE(at_ + sizeof(T), bytes_.size());
    if (at_ + sizeof(T) <= bytes_.size()) std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  bool done() const { return at_ >= bytes_.size(); }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

TEST(Mel, EqualsTheOfficialExtractorOnGeneratedSounds) {
  Reader golden("tests/data/audio/mel.bin");
  int sounds = 0;
  double worst = 0;
  for (; !golden.done(); ++sounds) {
    SCOPED_TRACE(sounds);
    const std::vector<float> samples = GeneratedSound(sounds);
    ASSERT_EQ(samples.size(), golden.Next<int32_t>());
    // The extractor cuts at 30 s, as segments do.
    const MelFrames mel = LogMel(
        absl::MakeConstSpan(samples).first(std::min<size_t>(samples.size(), kSegmentSamples)),
        MelFloor::kAdd);
    ASSERT_EQ(mel.frames, golden.Next<int32_t>());
    ASSERT_EQ(mel.values.size(), static_cast<size_t>(mel.frames) * kMelBins);
    const int picked = golden.Next<int32_t>();
    double sum = 0, squares = 0;
    for (const float value : mel.values) {
      sum += value;
      squares += double{value} * value;
    }
    const auto count = std::max<double>(1, static_cast<double>(mel.values.size()));
    EXPECT_NEAR(sum / count, golden.Next<double>(), 1e-5);
    EXPECT_NEAR(std::sqrt(squares / count), golden.Next<double>(), 1e-5);
    for (size_t bin = 0; bin < kMelBins; ++bin) {
      const float want = golden.Next<float>();
      if (picked < 0) continue;
      worst = std::max<double>(
          worst, std::abs(mel.values[static_cast<size_t>(picked) * kMelBins + bin] - want));
    }
  }
  EXPECT_EQ(sounds, 200);
  // The last bits of float32 values up to 8.
  EXPECT_LE(worst, 1e-6);
}

// llama.cpp's floor: what is above it stays as it is without the addition.
TEST(Mel, HasLlamaCppsFloor) {
  const std::vector<float> samples = SynthSound(1, 16000);
  const MelFrames add = LogMel(samples, MelFloor::kAdd), max = LogMel(samples, MelFloor::kMax);
  ASSERT_EQ(add.values.size(), max.values.size());
  for (size_t i = 0; i < add.values.size(); ++i) {
    const double mel = std::exp(double{add.values[i]}) - 1e-3;
    EXPECT_NEAR(max.values[i], std::log(std::max(mel, 1e-3)), 1e-3) << i;
  }
  EXPECT_FLOAT_EQ(LogMel(std::vector<float>(1000), MelFloor::kMax).values[0], std::log(1e-3f));
}

// Whatever finite samples come, no value is infinite or not a number.
TEST(Mel, StaysFinite) {
  for (const float value : {0.f, 1e-38f, 1.f, 1e6f, std::numeric_limits<float>::max()}) {
    std::vector<float> samples(1000, value);
    for (size_t i = 0; i < samples.size(); i += 2) samples[i] = -samples[i];
    for (const MelFloor floor : {MelFloor::kAdd, MelFloor::kMax}) {
      const MelFrames mel = LogMel(samples, floor);
      EXPECT_TRUE(std::all_of(mel.values.begin(), mel.values.end(), [](float v) {
        return std::isfinite(v);
      })) << value;
    }
  }
}

}  // namespace
}  // namespace softsplice
