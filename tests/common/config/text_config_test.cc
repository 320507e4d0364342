#include "common/config/text_config.h"

#include <cmath>
#include <string>

#include "common/config/unread.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/config/keyed_gguf.h"

namespace softsplice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Layers S F S | S F with the last two sharing.
KeyedGguf Good() {
  KeyedGguf g;
  g.SetString("general.architecture", "gemma4");
  g.SetInt("gemma4.block_count", 5);
  g.SetInt("gemma4.context_length", 4096);
  g.SetInt("gemma4.embedding_length", 8);
  g.SetInt("gemma4.feed_forward_length", 16);
  g.SetInt("gemma4.attention.head_count", 4);
  g.SetInt("gemma4.attention.head_count_kv", 2);
  g.SetInt("gemma4.attention.key_length", 8);
  g.SetInt("gemma4.attention.value_length", 8);
  g.SetInt("gemma4.attention.key_length_swa", 4);
  g.SetInt("gemma4.attention.value_length_swa", 4);
  g.SetInt("gemma4.rope.dimension_count", 8);
  g.SetInt("gemma4.rope.dimension_count_swa", 4);
  g.SetFloat("gemma4.rope.freq_base", 5e5f);
  g.SetFloat("gemma4.rope.freq_base_swa", 2e4f);
  g.SetFloat("gemma4.attention.layer_norm_rms_epsilon", 1e-6f);
  g.SetFloat("gemma4.final_logit_softcapping", 30);
  g.SetInt("gemma4.attention.sliding_window", 24);
  g.SetInt("gemma4.attention.shared_kv_layers", 2);
  g.SetInt("gemma4.embedding_length_per_layer_input", 4);
  g.SetBools("gemma4.attention.sliding_window_pattern", {true, false, true, true, false});
  g.Set("tokenizer.ggml.tokens", [](gguf::GgufWriter& w, const std::string& k) {
    w.StringList(k, {"a", "b", "c"});
  });
  g.SetTensor("token_embd.weight", {8, 3});
  for (int i = 0; i < 5; ++i) g.SetTensor(absl::StrCat("blk.", i, ".ffn_gate.weight"), {8, 16});
  return g;
}

TextConfig MustRead(const KeyedGguf& g) {
  auto config = TextConfig::FromGguf(*g.Open());
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *std::move(config) : TextConfig();
}

void ExpectError(const KeyedGguf& g, const std::string& message) {
  const auto config = TextConfig::FromGguf(*g.Open());
  ASSERT_FALSE(config.ok()) << "expected: " << message;
  EXPECT_EQ(config.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(message));
}

TEST(TextConfigTest, ReadsAllValues) {
  KeyedGguf g = Good();
  g.SetString("general.name", "a name");
  const TextConfig c = MustRead(g);
  EXPECT_EQ(c.name, "a name");
  EXPECT_EQ(c.layers, 5);
  EXPECT_EQ(c.dim, 8);
  EXPECT_EQ(c.vocab, 3);
  EXPECT_EQ(c.context_length, 4096);
  EXPECT_EQ(c.heads, 4);
  EXPECT_THAT(c.kv_heads, ElementsAre(2, 2, 2, 2, 2));
  EXPECT_EQ(c.head_dim_full, 8);
  EXPECT_EQ(c.head_dim_sliding, 4);
  EXPECT_EQ(c.HeadDim(0), 4);
  EXPECT_EQ(c.HeadDim(1), 8);
  EXPECT_EQ(c.window, 24);
  EXPECT_THAT(c.is_sliding, ElementsAre(true, false, true, true, false));
  EXPECT_THAT(c.kv_source, ElementsAre(0, 1, 2, 2, 1));
  EXPECT_TRUE(c.OwnsKv(2));
  EXPECT_FALSE(c.OwnsKv(3));
  EXPECT_EQ(c.shared_kv_layers, 2);
  EXPECT_EQ(c.rope_base_full, 5e5f);
  EXPECT_EQ(c.rope_base_sliding, 2e4f);
  EXPECT_THAT(c.ffn, ElementsAre(16, 16, 16, 16, 16));
  EXPECT_EQ(c.ple_dim, 4);
  EXPECT_EQ(c.eps, 1e-6f);
  EXPECT_EQ(c.softcap, 30);
}

TEST(TextConfigTest, OptionalKeysHaveTheModelsDefaults) {
  KeyedGguf g = Good();
  for (const char* key :
       {"rope.freq_base", "rope.freq_base_swa", "final_logit_softcapping", "rope.dimension_count",
        "rope.dimension_count_swa", "attention.value_length", "attention.value_length_swa",
        "attention.shared_kv_layers", "feed_forward_length"}) {
    g.Remove(absl::StrCat("gemma4.", key));
  }
  const TextConfig c = MustRead(g);
  EXPECT_EQ(c.rope_base_full, 1e6f);
  EXPECT_EQ(c.rope_base_sliding, 1e4f);
  EXPECT_EQ(c.softcap, 0);
  EXPECT_THAT(c.kv_source, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(c.ffn, ElementsAre(16, 16, 16, 16, 16));
  EXPECT_THAT(c.name, HasSubstr("keyed."));
  EXPECT_THAT(c.name, testing::Not(HasSubstr("/")));
}

TEST(TextConfigTest, LayersMayDiffer) {
  KeyedGguf g = Good();
  g.SetInts("gemma4.feed_forward_length", {16, 16, 16, 32, 32});
  g.SetTensor("blk.3.ffn_gate.weight", {8, 32});
  g.SetTensor("blk.4.ffn_gate.weight", {8, 32});
  g.SetInts("gemma4.attention.head_count_kv", {4, 1, 2, 2, 1});
  const TextConfig c = MustRead(g);
  EXPECT_THAT(c.ffn, ElementsAre(16, 16, 16, 32, 32));
  EXPECT_THAT(c.kv_heads, ElementsAre(4, 1, 2, 2, 1));
  g.SetInt("gemma4.feed_forward_length", 16);  // one number for all: the tensors know better
  EXPECT_THAT(MustRead(g).ffn, ElementsAre(16, 16, 16, 32, 32));
}

TEST(TextConfigTest, PatternMayBeIntegersOrAPeriod) {
  KeyedGguf g = Good();
  g.SetInts("gemma4.attention.sliding_window_pattern", {1, 0, 1, 1, 0});
  EXPECT_THAT(MustRead(g).is_sliding, ElementsAre(true, false, true, true, false));
  g.SetInt("gemma4.attention.sliding_window_pattern", 2);
  g.SetInt("gemma4.attention.shared_kv_layers", 3);
  const TextConfig c = MustRead(g);
  EXPECT_THAT(c.is_sliding, ElementsAre(true, false, true, false, true));
  EXPECT_THAT(c.kv_source, ElementsAre(0, 1, 0, 1, 0));
}

TEST(TextConfigTest, RefusesOtherFiles) {
  KeyedGguf g = Good();
  g.SetString("general.architecture", "clip");
  ExpectError(g, "this is an mmproj file (arch clip); --model takes the text file");
  g.SetString("general.architecture", "llama");
  ExpectError(g, "arch llama is not supported, gemma4 is");
  g.Remove("general.architecture");
  ExpectError(g, "\"general.architecture\" is missing");
  g = Good();
  g.SetInt("gemma4.expert_count", 128);
  ExpectError(g, "a mixture of experts");
  g = Good();
  g.Remove("gemma4.embedding_length_per_layer_input");
  ExpectError(g, "no per-layer embeddings");
}

TEST(TextConfigTest, RefusesMissingKeys) {
  for (const char* key : {"block_count", "context_length", "embedding_length",
                          "attention.head_count", "attention.head_count_kv", "attention.key_length",
                          "attention.key_length_swa", "attention.layer_norm_rms_epsilon",
                          "attention.sliding_window", "attention.sliding_window_pattern"}) {
    KeyedGguf g = Good();
    g.Remove(absl::StrCat("gemma4.", key));
    ExpectError(g, absl::StrCat("metadata \"gemma4.", key, "\" is missing"));
  }
  KeyedGguf g = Good();
  g.Remove("tokenizer.ggml.tokens");
  ExpectError(g, "\"tokenizer.ggml.tokens\" is missing");
}

TEST(TextConfigTest, RefusesIntegersOutOfRange) {
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.key_length_swa",
        "attention.sliding_window", "feed_forward_length"}) {
    for (const uint32_t value : {0u, 1u << 31, ~0u}) {
      KeyedGguf g = Good();
      g.SetInt(absl::StrCat("gemma4.", key), value);
      ExpectError(g, absl::StrCat("\"gemma4.", key, "\" is ", value, ", must be from "));
    }
  }
  KeyedGguf g = Good();
  g.SetInts("gemma4.attention.head_count_kv", {2, 2, -1, 2, 2});
  ExpectError(g, "head_count_kv\" is -1");
  g = Good();
  g.SetInt("gemma4.attention.shared_kv_layers", 5);
  ExpectError(g, "shared_kv_layers\" is 5, must be from 0 to 4");
  g = Good();
  g.SetInt("gemma4.block_count", 1024);
  g.SetInt("gemma4.embedding_length_per_layer_input", 65536);
  ExpectError(g, "at most 16777216 over all layers");
}

TEST(TextConfigTest, RefusesFloatsOutOfRange) {
  for (const char* key :
       {"rope.freq_base", "rope.freq_base_swa", "attention.layer_norm_rms_epsilon"}) {
    for (const float value : {0.f, -1.f, INFINITY, NAN}) {
      KeyedGguf g = Good();
      g.SetFloat(absl::StrCat("gemma4.", key), value);
      ExpectError(g, absl::StrCat("\"gemma4.", key, "\" is "));
    }
  }
  KeyedGguf g = Good();
  g.SetFloat("gemma4.final_logit_softcapping", -30);
  ExpectError(g, "softcapping\" is -30");
}

TEST(TextConfigTest, RefusesContradictions) {
  KeyedGguf g = Good();
  g.SetInt("gemma4.attention.head_count_kv", 3);
  ExpectError(g, "head_count_kv\" is 3, must be a divisor of head_count 4");
  g = Good();
  g.SetInt("gemma4.attention.key_length", 7);
  ExpectError(g, "key_length\" is 7, must be even");
  g = Good();
  g.SetInt("gemma4.attention.value_length_swa", 8);
  ExpectError(g, "value_length_swa\" is 8, must be 4, as attention.key_length_swa");
  g = Good();
  g.SetInt("gemma4.rope.dimension_count", 2);
  ExpectError(g, "rope.dimension_count\" is 2, must be 8");
  g = Good();
  g.SetInts("gemma4.feed_forward_length", {16, 16, 16, 32, 16});
  ExpectError(g, "\"blk.3.ffn_gate.weight\" has 16 rows, expected 32");
  g = Good();
  g.SetInts("gemma4.feed_forward_length", {16, 16});
  ExpectError(g, "feed_forward_length\" has 2 entries for 5 layers");
  g = Good();
  g.SetBools("gemma4.attention.sliding_window_pattern", {true, false});
  ExpectError(g, "has 2 entries for 5 layers");
  g = Good();
  g.SetInt("gemma4.attention.sliding_window_pattern", 0);
  ExpectError(g, "sliding_window_pattern\" is 0, must be at least 1");
  g = Good();
  g.SetBools("gemma4.attention.sliding_window_pattern", {true, true, true, true, false});
  ExpectError(g, "layer 4 (full) shares keys and values, but none of the first 3");
  g = Good();
  g.SetInts("gemma4.attention.head_count_kv", {2, 2, 2, 4, 2});
  ExpectError(g, "layer 3 has 4 KV heads, but shares those of layer 2 with 2");
  g = Good();
  g.SetTensor("token_embd.weight", {8, 4});
  ExpectError(g, "token_embd.weight has 4 rows for 3 tokens");
  g = Good();
  g.RemoveTensor("blk.2.ffn_gate.weight");
  ExpectError(g, "tensor \"blk.2.ffn_gate.weight\" is missing");
}

TEST(TextConfigTest, ReadsRealFiles) {
  const auto tiny = gguf::File::Open("tests/data/models/tiny-F16.gguf");
  ASSERT_TRUE(tiny.ok()) << tiny.status();
  const auto c = TextConfig::FromGguf(**tiny);
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_THAT(c->kv_source, ElementsAre(0, 1, 2, 3, 2, 2, 3));  // S F S F | S S F
  const auto ssfs = gguf::File::Open("tests/data/models/ssfs-F16.gguf");
  ASSERT_TRUE(ssfs.ok()) << ssfs.status();
  const auto s = TextConfig::FromGguf(**ssfs);
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_THAT(s->kv_source, ElementsAre(0, 1, 2, 3, 3, 3, 2));  // S S F S | S S F
  const auto e2b = gguf::File::Open("tests/data/models/tiny_e2b-F16.gguf");
  ASSERT_TRUE(e2b.ok()) << e2b.status();
  const auto e = TextConfig::FromGguf(**e2b);
  ASSERT_TRUE(e.ok()) << e.status();
  EXPECT_THAT(e->kv_source, ElementsAre(0, 1, 2, 3, 4, 3, 3, 3, 3, 4));  // S S S S F | S S S S F
  EXPECT_THAT(e->ffn, ElementsAre(64, 64, 64, 64, 64, 128, 128, 128, 128, 128));
}

TEST(TextConfigTest, RefusesScaledPositions) {
  KeyedGguf g = Good();
  g.SetString("gemma4.rope.scaling.type", "none");
  g.SetFloat("gemma4.rope.scaling.factor", 8);
  MustRead(g);
  g.SetString("gemma4.rope.scaling.type", "linear");
  ExpectError(g, "gemma4.rope.scaling.type is linear with a factor of 8");
  g.SetFloat("gemma4.rope.scaling.factor", 1);
  MustRead(g);
  g.SetString("gemma4.rope.scaling.type", "yarn");
  ExpectError(g, "gemma4.rope.scaling.type is yarn");
  KeyedGguf alone = Good();
  alone.SetFloat("gemma4.rope.scaling.factor", 2);
  ExpectError(alone, "linear with a factor of 2");
}

TEST(TextConfigTest, RefusesTensorsThatAreNoneOfItsLayers) {
  KeyedGguf bias = Good();
  bias.SetTensor("blk.4.attn_q.bias", {32});
  ExpectError(bias, "tensor \"blk.4.attn_q.bias\" is of a kind that gemma4's layers do not have");
  KeyedGguf more = Good();
  more.SetTensor("blk.5.attn_norm.weight", {8});
  ExpectError(more, "tensor \"blk.5.attn_norm.weight\" is of a layer beyond the 5");
}

TEST(TextConfigTest, NamesWhatIsNotRead) {
  KeyedGguf g = Good();
  EXPECT_THAT(UnreadNames(*g.Open()), IsEmpty());
  g.SetTensor("output.weight", {8, 3});
  g.SetString("general.url", "anywhere");
  EXPECT_TRUE(MustRead(g).own_head);
  EXPECT_THAT(UnreadNames(*g.Open()), IsEmpty());
  g.SetInt("gemma4.attention.novelty", 1);
  g.SetTensor("v.patch_embd.weight", {8});
  EXPECT_THAT(UnreadNames(*g.Open()),
              ElementsAre("gemma4.attention.novelty", "v.patch_embd.weight"));
}

}  // namespace
}  // namespace softsplice
