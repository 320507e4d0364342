#include "common/config/audio_config.h"

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
  g.SetBool("clip.has_audio_encoder", true);
  g.SetString("clip.audio.projector_type", "gemma4a");
  g.SetInt("clip.audio.block_count", 3);
  g.SetInt("clip.audio.embedding_length", 24);
  g.SetInt("clip.audio.feed_forward_length", 40);
  g.SetInt("clip.audio.attention.head_count", 3);
  g.SetInt("clip.audio.projection_dim", 16);
  g.SetInt("clip.audio.num_mel_bins", 128);
  g.SetTensor("a.conv1d.0.weight", {3, 3, 1, 6});
  g.SetTensor("a.conv1d.1.weight", {3, 3, 6, 2});
  g.SetTensor("a.input_projection.weight", {64, 24});
  g.SetTensor("a.blk.0.conv_dw.weight", {5, 24});
  g.SetTensor("a.pre_encode.out.weight", {24, 30});
  g.SetTensor("mm.a.input_projection.weight", {30, 16});
  return g;
}

AudioConfig MustRead(const KeyedGguf& g) {
  auto config = AudioConfig::FromGguf(*g.Open());
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *std::move(config) : AudioConfig();
}

void ExpectError(const KeyedGguf& g, const std::string& message) {
  const auto config = AudioConfig::FromGguf(*g.Open());
  ASSERT_FALSE(config.ok()) << "expected: " << message;
  EXPECT_EQ(config.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(message));
}

TEST(AudioConfigTest, ReadsAllValues) {
  const AudioConfig c = MustRead(Good());
  EXPECT_EQ(c.name, "a name");
  EXPECT_EQ(c.layers, 3);
  EXPECT_EQ(c.dim, 24);
  EXPECT_EQ(c.heads, 3);
  EXPECT_EQ(c.HeadDim(), 8);
  EXPECT_EQ(c.ffn, 40);
  EXPECT_EQ(c.mel_bins, 128);
  EXPECT_EQ(c.conv_channels[0], 6);
  EXPECT_EQ(c.conv_channels[1], 2);
  EXPECT_EQ(c.kernel, 5);
  EXPECT_EQ(c.output_dim, 30);
  EXPECT_EQ(c.projection_dim, 16);
  EXPECT_EQ(c.context, 12);
  EXPECT_EQ(c.softcap, 50);
}

TEST(AudioConfigTest, KnowsBetterThanTheEpsOfOldFiles) {
  KeyedGguf g = Good();
  EXPECT_EQ(MustRead(g).eps, 1e-6f);
  g.SetFloat("clip.audio.attention.layer_norm_epsilon", 1e-5f);
  EXPECT_EQ(MustRead(g).eps, 1e-6f);
}

TEST(AudioConfigTest, ReadsTheShortKeyOfFilesWithOneTower) {
  KeyedGguf g = Good();
  g.Remove("clip.audio.projector_type");
  g.SetString("clip.projector_type", "gemma4a");
  EXPECT_EQ(MustRead(g).layers, 3);
}

TEST(AudioConfigTest, RefusesOtherTowers) {
  KeyedGguf g = Good();
  g.SetBool("clip.has_vision_encoder", true);
  g.SetBool("clip.has_audio_encoder", false);
  ExpectError(g, "this mmproj file has no audio tower");
  g = Good();
  g.SetString("clip.audio.projector_type", "qwen3a");
  ExpectError(g, "audio projector qwen3a is not supported, gemma4a is");
  g = Good();
  g.SetInt("clip.audio.num_mel_bins", 80);
  ExpectError(g, "\"clip.audio.num_mel_bins\" is 80, must be from 128 to 128");
}

TEST(AudioConfigTest, RefusesMissingAndBadValues) {
  for (const char* key : {"block_count", "embedding_length", "feed_forward_length",
                          "attention.head_count", "projection_dim", "num_mel_bins"}) {
    const std::string full = absl::StrCat("clip.audio.", key);
    KeyedGguf g = Good();
    g.Remove(full);
    ExpectError(g, absl::StrCat("metadata \"", full, "\" is missing"));
    for (const uint32_t value : {0u, ~0u}) {
      g.SetInt(full, value);
      ExpectError(g, absl::StrCat("\"", full, "\" is ", value, ", must be from 1"));
    }
  }
}

TEST(AudioConfigTest, RefusesContradictions) {
  KeyedGguf g = Good();
  g.SetInt("clip.audio.attention.head_count", 5);
  ExpectError(g, "head_count\" is 5, must be a divisor of embedding_length 24");
  g = Good();
  g.SetInt("clip.audio.embedding_length", 27);
  ExpectError(g, "a divisor of embedding_length 27, which is even");
  g = Good();
  g.SetTensor("a.conv1d.0.weight", {3, 5, 1, 6});
  ExpectError(g, "\"a.conv1d.0.weight\" has shape [3, 5, 1, 6], expected [3, 3, 1, any]");
  g = Good();
  g.SetTensor("a.conv1d.1.weight", {3, 3, 7, 2});
  ExpectError(g, "\"a.conv1d.1.weight\" has shape [3, 3, 7, 2], expected [3, 3, 6, any]");
  g = Good();
  g.SetTensor("a.conv1d.0.weight", {3, 3, 1, 5000});
  ExpectError(g, "a.conv1d.0.weight has 5000 channels, the limit is 4096");
  g = Good();
  g.SetTensor("a.input_projection.weight", {32, 24});
  ExpectError(g, "\"a.input_projection.weight\" has shape [32, 24], expected [64, 24]");
  g = Good();
  g.SetTensor("a.blk.0.conv_dw.weight", {100, 24});
  ExpectError(g, "a.blk.0.conv_dw.weight has 100 taps, the limit is 64");
  g = Good();
  g.SetInt("clip.audio.projection_dim", 32);
  ExpectError(g, "\"mm.a.input_projection.weight\" has shape [30, 16], expected [30, 32]");
  g.RemoveTensor("a.pre_encode.out.weight");
  ExpectError(g, "tensor \"a.pre_encode.out.weight\" is missing");
}

TEST(AudioConfigTest, ReadsRealFiles) {
  const auto file = gguf::File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto c = AudioConfig::FromGguf(**file);
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->dim, 96);
  EXPECT_EQ(c->conv_channels[0], 128);
  EXPECT_EQ(c->conv_channels[1], 32);
  EXPECT_EQ(c->output_dim, 128);
  EXPECT_EQ(c->projection_dim, 160);
}

}  // namespace
}  // namespace softsplice
