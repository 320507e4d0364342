// The official target sizes, and resized pixels bit for bit as Pillow's.
#include "encoder_svc/image/resize.h"

#include <openssl/sha.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/image/weighted_rows.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/read_file.h"
#include "tests/support/synth.h"

namespace softsplice {
namespace {

using ::softsplice::testing::ReadFile;
using ::softsplice::testing::SynthPicture;

std::string Sha256(const std::vector<uint8_t>& bytes) {
  uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(bytes.data(), bytes.size(), digest);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof(digest)));
}

TEST(TargetSize, EqualsTheOfficialRule) {
  std::istringstream table(ReadFile("tests/data/image/sizes.txt"));
  int width, height, budget, target_width, target_height, cases = 0;
  while (table >> width >> height >> budget >> target_width >> target_height) {
    const auto size = TargetSize(width, height, budget, 16, 3);
    ASSERT_TRUE(size.ok()) << size.status();
    EXPECT_EQ(size->width, target_width) << width << " x " << height << " at " << budget;
    EXPECT_EQ(size->height, target_height) << width << " x " << height << " at " << budget;
    ++cases;
  }
  EXPECT_EQ(cases, 750);
}

TEST(TargetSize, NeverExceedsTheBudget) {
  for (const int budget : {70, 140, 280, 560, 1120}) {
    for (int width = 1; width < 70000; width = width * 5 / 3 + 1) {
      for (int height = 1; height < 70000; height = height * 7 / 4 + 1) {
        const auto size = TargetSize(width, height, budget, 16, 3);
        ASSERT_TRUE(size.ok()) << size.status();
        EXPECT_LE(size->width / 48 * (size->height / 48), budget) << width << " x " << height;
        EXPECT_EQ(size->width % 48, 0);
        EXPECT_EQ(size->height % 48, 0);
        EXPECT_GE(std::min(size->width, size->height), 48);
      }
    }
  }
}

TEST(TargetSize, RefusesWhatTheRuleHasNoAnswerTo) {
  // Both ideal sides are 33.9 pixels: half a soft token's worth of area each way.
  EXPECT_EQ(TargetSize(10, 10, 0, 16, 3).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ResizeBicubic, EqualsPillowBitForBit) {
  const auto index = nlohmann::json::parse(ReadFile("tests/data/goldens/index.json"));
  int cases = 0;
  for (const auto& [name, golden] : index["resize"].items()) {
    if (!golden.contains("target_hw")) continue;
    const int width = golden["w"], height = golden["h"], budget = golden["budget"];
    const auto size = TargetSize(width, height, budget, 16, 3);
    ASSERT_TRUE(size.ok()) << size.status();
    EXPECT_EQ(size->height, golden["target_hw"][0]);
    EXPECT_EQ(size->width, golden["target_hw"][1]);
    const Picture resized = ResizeBicubic(SynthPicture(golden["k"], width, height), *size);
    EXPECT_EQ(Sha256(resized.rgb), golden["sha256"].get<std::string>()) << name;
    ++cases;
  }
  EXPECT_EQ(cases, 12);
}

TEST(ResizeBicubic, KeepsAPictureThatHasTheSize) {
  const Picture picture = SynthPicture(3, 96, 48);
  EXPECT_EQ(ResizeBicubic(picture, {96, 48}).rgb, picture.rgb);
}

// Against the definition, on every tail length: the vector body takes 48 columns at a time.
TEST(WeightedRows, EqualsItsDefinition) {
  for (size_t n = 1; n <= 120; ++n) {
    const int taps = static_cast<int>(n % 11) + 1;
    std::vector<uint8_t> in(n * static_cast<size_t>(taps));
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i * i * 37 + n);
    std::vector<int32_t> weights;
    for (int t = 0; t < taps; ++t) weights.push_back((t % 3 == 1 ? -1 : 2) * 300000 - t * 7919);
    std::vector<uint8_t> out(n), expected(n);
    for (size_t i = 0; i < n; ++i) {
      int64_t sum = int64_t{1} << (kWeightBits - 1);
      for (size_t t = 0; t < weights.size(); ++t) sum += int64_t{weights[t]} * in[t * n + i];
      expected[i] = static_cast<uint8_t>(std::clamp<int64_t>(sum >> kWeightBits, 0, 255));
    }
    WeightedRows(out.data(), in.data(), n, weights.data(), taps, n);
    EXPECT_EQ(out, expected) << n;
  }
}

TEST(MakePatches, OrdersPixelsByRowColumnChannel) {
  const Picture picture = SynthPicture(9, 96, 48);
  const Patches patches = MakePatches(picture, 16);
  ASSERT_EQ(patches.grid_columns, 6);
  ASSERT_EQ(patches.grid_rows, 3);
  ASSERT_EQ(patches.values.size(), 18u * 768);
  for (int patch = 0; patch < 18; ++patch) {
    const int row = patch / 6, column = patch % 6;
    EXPECT_EQ(patches.rows[static_cast<size_t>(patch)], row);
    EXPECT_EQ(patches.columns[static_cast<size_t>(patch)], column);
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < 16; ++x) {
        for (int c = 0; c < 3; ++c) {
          const int p = picture.Row(row * 16 + y)[(column * 16 + x) * 3 + c];
          const float value =
              patches.values[static_cast<size_t>(patch * 768 + (y * 16 + x) * 3 + c)];
          EXPECT_NEAR(value, 2.0 * p / 255 - 1, 1.2e-7);  // one rounding to float32 near 1
        }
      }
    }
  }
}

}  // namespace
}  // namespace softsplice
