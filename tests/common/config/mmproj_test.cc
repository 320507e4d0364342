#include "common/config/mmproj.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/config/keyed_gguf.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

KeyedGguf Good() {
  KeyedGguf g;
  g.SetString("general.architecture", "clip");
  return g;
}

void ExpectError(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(MmprojTest, FindsTheTowersThatAreThere) {
  for (const auto& [image, audio] : {std::pair(true, true), {true, false}, {false, true}}) {
    KeyedGguf g = Good();
    g.SetBool("clip.has_vision_encoder", image);
    if (audio) g.SetBool("clip.has_audio_encoder", audio);  // where it is not, so is the key
    const auto towers = FindTowers(*g.Open());
    ASSERT_TRUE(towers.ok()) << towers.status();
    EXPECT_EQ(towers->image, image);
    EXPECT_EQ(towers->audio, audio);
  }
}

TEST(MmprojTest, RefusesOtherFiles) {
  KeyedGguf g = Good();
  ExpectError(FindTowers(*g.Open()).status(), "has no image tower and no audio tower");
  g.SetString("general.architecture", "gemma4");
  ExpectError(FindTowers(*g.Open()).status(),
              "this is a text file (arch gemma4); --mmproj takes the mmproj file");
  g.SetString("general.architecture", "whisper");
  ExpectError(FindTowers(*g.Open()).status(), "arch whisper is not supported, clip");
  g.Remove("general.architecture");
  ExpectError(FindTowers(*g.Open()).status(), "\"general.architecture\" is missing");
}

TEST(MmprojTest, ChecksTheKindOfATower) {
  const auto check = [](const KeyedGguf& g, bool present) {
    return CheckTower(*g.Open(), present, "audio", "clip.audio.", "gemma4a");
  };
  KeyedGguf g = Good();
  ExpectError(check(g, false), "this mmproj file has no audio tower");
  ExpectError(check(g, true), "\"clip.projector_type\" is missing");
  g.SetString("clip.projector_type", "gemma4a");
  EXPECT_TRUE(check(g, true).ok());
  g.SetString("clip.audio.projector_type", "ultravox");
  ExpectError(check(g, true), "audio projector ultravox is not supported, gemma4a is");
}

}  // namespace
}  // namespace softsplice
