#include "common/config/vision_config.h"

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
  g.SetString("general.name", "a name");
  g.SetBool("clip.has_vision_encoder", true);
  g.SetString("clip.vision.projector_type", "gemma4v");
  g.SetInt("clip.vision.block_count", 3);
  g.SetInt("clip.vision.embedding_length", 24);
  g.SetInt("clip.vision.feed_forward_length", 40);
  g.SetInt("clip.vision.attention.head_count", 3);
  g.SetInt("clip.vision.projection_dim", 16);
  g.SetFloat("clip.vision.attention.layer_norm_epsilon", 1e-6f);
  g.SetTensor("v.position_embd.weight", {24, 50, 2});
  g.SetTensor("v.patch_embd.weight", {16, 16, 3, 24});
  g.SetTensor("mm.input_projection.weight", {24, 16});
  return g;
}

VisionConfig MustRead(const KeyedGguf& g) {
  auto config = VisionConfig::FromGguf(*g.Open());
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *std::move(config) : VisionConfig();
}

void ExpectError(const KeyedGguf& g, const std::string& message) {
  const auto config = VisionConfig::FromGguf(*g.Open());
  ASSERT_FALSE(config.ok()) << "expected: " << message;
  EXPECT_EQ(config.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(message));
}

TEST(VisionConfigTest, ReadsAllValues) {
  const VisionConfig c = MustRead(Good());
  EXPECT_EQ(c.name, "a name");
  EXPECT_EQ(c.layers, 3);
  EXPECT_EQ(c.dim, 24);
  EXPECT_EQ(c.heads, 3);
  EXPECT_EQ(c.HeadDim(), 8);
  EXPECT_EQ(c.ffn, 40);
  EXPECT_EQ(c.eps, 1e-6f);
  EXPECT_EQ(c.patch, 16);
  EXPECT_EQ(c.pool, 3);
  EXPECT_EQ(c.rope_base, 100);
  EXPECT_EQ(c.positions, 50);
  EXPECT_EQ(c.projection_dim, 16);
}

TEST(VisionConfigTest, ReadsOptionalKeys) {
  KeyedGguf g = Good();
  g.SetInt("clip.vision.projector.scale_factor", 2);
  g.SetInt("clip.vision.patch_size", 8);
  g.SetTensor("v.patch_embd.weight", {8, 8, 3, 24});
  g.Remove("clip.vision.projector_type");
  g.SetString("clip.projector_type", "gemma4v");
  const VisionConfig c = MustRead(g);
  EXPECT_EQ(c.pool, 2);
  EXPECT_EQ(c.patch, 8);
}

TEST(VisionConfigTest, RefusesOtherTowers) {
  KeyedGguf g = Good();
  g.SetBool("clip.has_vision_encoder", false);
  g.SetBool("clip.has_audio_encoder", true);
  ExpectError(g, "this mmproj file has no image tower");
  g = Good();
  g.SetString("clip.vision.projector_type", "gemma3");
  ExpectError(g, "image projector gemma3 is not supported, gemma4v is");
}

TEST(VisionConfigTest, RefusesMissingAndBadValues) {
  for (const char* key : {"block_count", "embedding_length", "feed_forward_length",
                          "attention.head_count", "projection_dim"}) {
    const std::string full = absl::StrCat("clip.vision.", key);
    KeyedGguf g = Good();
    g.Remove(full);
    ExpectError(g, absl::StrCat("metadata \"", full, "\" is missing"));
    for (const uint32_t value : {0u, ~0u}) {
      g.SetInt(full, value);
      ExpectError(g, absl::StrCat("\"", full, "\" is ", value, ", must be from 1 to "));
    }
  }
  KeyedGguf g = Good();
  g.SetFloat("clip.vision.attention.layer_norm_epsilon", 0);
  ExpectError(g, "layer_norm_epsilon\" is 0");
}

TEST(VisionConfigTest, RefusesContradictions) {
  for (const uint32_t heads : {5u, 4u, 12u}) {  // no divisor; heads of 6; heads of 2
    KeyedGguf g = Good();
    g.SetInt("clip.vision.attention.head_count", heads);
    ExpectError(g, absl::StrCat("head_count\" is ", heads, ", must be a divisor of"));
  }
  KeyedGguf g = Good();
  g.SetTensor("v.position_embd.weight", {24, 50});
  ExpectError(g, "\"v.position_embd.weight\" has shape [24, 50], expected [24, any, 2]");
  g = Good();
  g.SetInt("clip.vision.patch_size", 14);
  ExpectError(g, "\"v.patch_embd.weight\" has shape [16, 16, 3, 24], expected [14, 14, 3, 24]");
  g = Good();
  g.SetInt("clip.vision.projection_dim", 32);
  ExpectError(g, "\"mm.input_projection.weight\" has shape [24, 16], expected [24, 32]");
}

TEST(VisionConfigTest, ReadsRealFiles) {
  const auto file = gguf::File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto c = VisionConfig::FromGguf(**file);
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->positions, 512);
  EXPECT_EQ(c->projection_dim, 160);
}

}  // namespace
}  // namespace softsplice
