#include "deploy/cli/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "encoder_svc/audio/decode.h"
#include "encoder_svc/image/decode.h"
#include "encoder_svc/image/header.h"
#include "gtest/gtest.h"

namespace softsplice::bench {
namespace {

Workload Find(const std::string& name, WorkloadOptions options = {}) {
  options.name = name;
  return *Workload::Find(options);
}

size_t Words(const std::string& text) {
  return static_cast<std::vector<std::string>>(absl::StrSplit(text, ' ')).size();
}

const std::string& Text(const v1::Message& message) {
  return message.parts(message.parts_size() - 1).text();
}

Picture Decode(const std::string& file) {
  const auto header = ReadImageHeader(file, "", {});
  EXPECT_TRUE(header.ok()) << header.status();
  return *DecodeImage(file, *header);
}

std::vector<float> DecodeWav(const std::string& file) {
  const auto header = ReadSoundHeader(file, "", {});
  EXPECT_TRUE(header.ok()) << header.status();
  return *DecodeSound(file, header->type, {});
}

TEST(SyntheticTest, PicturesAreReadAndDifferByTheirNumbersOnly) {
  Random first(1), again(1), other(2);
  const std::string file = RandomPicture(first, 31, 20, 5),
                    tagged = RandomPicture(again, 31, 20, 6);
  const Picture picture = Decode(file);
  EXPECT_EQ(picture.width, 31);
  EXPECT_EQ(picture.height, 20);
  EXPECT_NE(file, tagged);
  EXPECT_EQ(picture.rgb, Decode(tagged).rgb);
  EXPECT_NE(picture.rgb, Decode(RandomPicture(other, 31, 20, 5)).rgb);
}

TEST(SyntheticTest, SoundsAreReadAndDifferByTheirNumbersOnly) {
  Random first(1), again(1), other(2);
  const std::string file = RandomSound(first, absl::Milliseconds(1500), 5);
  const std::string tagged = RandomSound(again, absl::Milliseconds(1500), 6);
  const std::vector<float> samples = DecodeWav(file);
  EXPECT_EQ(samples.size(), 24000u);
  EXPECT_NE(file, tagged);
  EXPECT_EQ(samples, DecodeWav(tagged));
  EXPECT_NE(samples, DecodeWav(RandomSound(other, absl::Milliseconds(1500), 5)));
}

TEST(WorkloadTest, UnknownNamesAreErrors) {
  EXPECT_TRUE(absl::IsInvalidArgument(Workload::Find({.name = "w9"}).status()));
}

TEST(WorkloadTest, TheIndexAndTheSeedDecide) {
  const Workload workload = Find("w1");
  const auto text = [](const Workload& of, uint64_t index) {
    return Text(of.Make(index).prompts.front());
  };
  EXPECT_EQ(text(workload, 3), text(Find("w1"), 3));
  EXPECT_NE(text(workload, 3), text(Find("w1", {.seed = 1}), 3));
  std::set<std::string> different;
  for (uint64_t i = 0; i < 100; ++i) different.insert(text(workload, i).substr(0, 40));
  EXPECT_EQ(different.size(), 100u);
}

TEST(WorkloadTest, TextHasItsTokens) {
  EXPECT_EQ(Words(Text(Find("w1").Make(0).prompts[0])), 256u);
  EXPECT_EQ(Words(Text(Find("w1", {.scale = 0.5, .tokens_per_word = 2}).Make(0).prompts[0])), 64u);
  EXPECT_EQ(Find("w2").Make(0).answer_tokens, 128u);
  EXPECT_EQ(Find("w2", {.scale = 0.25}).Make(0).answer_tokens, 32u);
}

TEST(WorkloadTest, W4HasFourToSixteenPicturesAndFewOfMany) {
  const Workload workload = Find("w4", {.budget = 70});
  constexpr int kCount = 40;
  int most = 0, fewest = 99, below_eight = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const v1::Message prompt = workload.Make(i).prompts.front();
    const int pictures = prompt.parts_size() - 1;
    EXPECT_EQ(prompt.parts(0).media().max_soft_tokens(), 70u);
    most = std::max(most, pictures);
    fewest = std::min(fewest, pictures);
    below_eight += pictures < 8;
  }
  EXPECT_EQ(fewest, 4);
  EXPECT_LE(most, 16);
  // Pareto: 1 - (4 / 8)^1.2 of them; 5 deviations of a binomial distribution.
  const double share = 1 - std::pow(0.5, 1.2);
  EXPECT_NEAR(below_eight, kCount * share, 5 * std::sqrt(kCount * share * (1 - share)));
  EXPECT_LT(below_eight, kCount);
}

TEST(WorkloadTest, W5HasSoundsOfItsLengths) {
  const Workload workload = Find("w5", {.scale = 0.1});
  double least = 99, most = 0;
  for (uint64_t i = 0; i < 30; ++i) {
    const v1::Message prompt = workload.Make(i).prompts.front();
    ASSERT_EQ(prompt.parts_size(), 2);
    const double seconds = static_cast<double>(prompt.parts(0).media().data().size()) / 32000;
    least = std::min(least, seconds);
    most = std::max(most, seconds);
  }
  EXPECT_GE(least, 0.5);
  EXPECT_LE(most, 30.01);
  EXPECT_GT(most, 4 * least);
}

TEST(WorkloadTest, W6HasAPictureInEveryOtherTurn) {
  const Workload workload = Find("w6");
  EXPECT_EQ(workload.think(), absl::Seconds(5));
  const Conversation conversation = workload.Make(0);
  ASSERT_EQ(conversation.prompts.size(), 8u);
  std::set<std::string> texts;
  for (size_t turn = 0; turn < 8; ++turn) {
    EXPECT_EQ(conversation.prompts[turn].parts_size(), turn % 2 == 0 ? 2 : 1) << turn;
    texts.insert(Text(conversation.prompts[turn]));
  }
  EXPECT_EQ(texts.size(), 8u);
}

TEST(WorkloadTest, W7SharesItsSystemTurn) {
  const Workload workload = Find("w7");
  const Conversation one = workload.Make(0), two = workload.Make(1);
  EXPECT_EQ(one.prompts.size(), 6u);
  EXPECT_EQ(Words(one.system), 4096u);
  EXPECT_EQ(one.system, two.system);
  EXPECT_NE(Text(one.prompts[0]), Text(two.prompts[0]));
}

TEST(WorkloadTest, W8MixesW1AndW3) {
  for (const double share : {0.0, 0.25, 1.0}) {
    const Workload workload = Find("w8", {.image_share = share});
    constexpr int kCount = 60;
    int pictures = 0;
    for (uint64_t i = 0; i < kCount; ++i) {
      const v1::Message prompt = workload.Make(i).prompts.front();
      pictures += prompt.parts_size() - 1;
      EXPECT_EQ(Words(Text(prompt)), prompt.parts_size() > 1 ? 32u : 256u);
    }
    EXPECT_NEAR(pictures, kCount * share, 5 * std::sqrt(kCount * share * (1 - share)));
  }
}

TEST(WorkloadTest, TellsWhatAContextMustHold) {
  // Text and answer, and no more than 16 tokens of markers a turn, 8 a medium.
  EXPECT_GE(Find("w2").MostTokens(), 8192 + 128);
  EXPECT_LE(Find("w2").MostTokens(), 8192 + 128 + 16);
  EXPECT_GE(Find("w3").MostTokens(), 280 + 32 + 128);
  EXPECT_EQ(Find("w8").MostTokens(), Find("w3").MostTokens());
  EXPECT_GE(Find("w4", {.budget = 70}).MostTokens(), 16 * 70 + 32 + 128);
  EXPECT_GE(Find("w5").MostTokens(), 300 * 25 + 32 + 128);
  EXPECT_GE(Find("w7").MostTokens(), 4096 + 6 * (256 + 64));
  EXPECT_LT(Find("w7", {.scale = 0.5}).MostTokens(), 2048 + 6 * 160 + 200);
}

// Prompts that have equal blocks begin with the same words, and no others do.
TEST(WorkloadTest, ATraceHasItsLengthsAndWhatItsPromptsShare) {
  const Workload trace =
      Workload::Replay({}, {{.prompt_tokens = 1100, .answer_tokens = 5, .blocks = {7, 8}},
                            {.prompt_tokens = 700, .answer_tokens = 6, .blocks = {7, 9}},
                            {.prompt_tokens = 300, .answer_tokens = 7, .blocks = {7}},
                            {.prompt_tokens = 300, .answer_tokens = 8}});
  std::vector<std::string> texts;
  for (int i = 0; i < 4; ++i) {
    const Conversation conversation = trace.Make(i);
    EXPECT_EQ(conversation.answer_tokens, 5u + i);
    EXPECT_EQ(conversation.system, "");
    ASSERT_EQ(conversation.prompts.size(), 1u);
    texts.push_back(Text(conversation.prompts[0]));
  }
  EXPECT_EQ(Words(texts[0]), 1100u);
  EXPECT_EQ(Words(texts[1]), 700u);
  const auto alike = [&](int a, int b) {
    const std::string &one = texts[a], &other = texts[b];
    const auto ends = std::mismatch(one.begin(), one.end(), other.begin(), other.end());
    return Words(one.substr(0, ends.first - one.begin())) - 1;
  };
  EXPECT_NEAR(static_cast<double>(alike(0, 1)), 512, 1);
  EXPECT_EQ(texts[0].substr(0, texts[2].size()), texts[2]);
  EXPECT_LT(alike(0, 3), 5u);
  EXPECT_EQ(trace.MostTokens(), 1100 + 5 + 16);
}

}  // namespace
}  // namespace softsplice::bench
