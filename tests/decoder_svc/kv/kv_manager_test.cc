// What the caches promise.
#include "decoder_svc/kv/kv_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/decoder_svc/kv/server.h"

namespace softsplice {
namespace {

constexpr int kBlock = Server::kBlock;

TEST(KvManagerTest, ThePromptOfASecondTurnIsCachedUpToItsEnd) {
  for (const int length : {5, 100, 128, 500, 640, 1000, 1280, 5000}) {
    Server server;
    const auto prompt = Text(1, length), answer = Text(2, 50), more = Text(3, 30);
    EXPECT_EQ(server.Serve(prompt, answer), 0);
    EXPECT_EQ(server.Serve(prompt + answer + more, {}), length + 50) << length;
  }
}

TEST(KvManagerTest, TheSamePromptIsReadFromItsLastRow) {
  for (const int length : {2, 127, 128, 129, 511, 512, 513, 640, 3000}) {
    Server server;
    server.Serve(Text(1, length), Text(2, 700));
    EXPECT_EQ(server.Serve(Text(1, length), {}), length - 1) << length;
  }
}

// Templates write what the next turn does not repeat behind the last turn's opening.
TEST(KvManagerTest, APromptMayPartALittleBeforeTheEndOfAnother) {
  for (int length = 1000; length < 1000 + kBlock; ++length) {
    Server server;
    const auto prompt = Text(1, length), empty_thought = Text(2, 7);
    server.Serve(prompt + empty_thought, Text(3, 600));
    EXPECT_EQ(server.Serve(prompt + Text(4, 100), {}), length);
  }
}

TEST(KvManagerTest, AnAnswerIsWrittenAnewFromTheEndOfItsPrompt) {
  Server server;
  const auto prompt = Text(1, 3000);
  server.Serve(prompt, Text(2, 900));
  for (int kind = 3; kind < 8; ++kind) {
    EXPECT_EQ(server.Serve(prompt + Text(kind, 10), Text(20, 300)), 3000);
  }
}

TEST(KvManagerTest, PromptsThatBeginAlikeHitFromTheThirdOn) {
  Server server;
  const auto system = Text(1, 2000);
  EXPECT_EQ(server.Serve(system + Text(2, 700), Text(3, 10)), 0);
  EXPECT_EQ(server.Serve(system + Text(4, 700), Text(5, 10)), 0);
  EXPECT_EQ(server.Serve(system + Text(6, 700), Text(7, 10)), 2000);
  EXPECT_EQ(server.Serve(system + Text(8, 900), Text(9, 10)), 2000);
}

TEST(KvManagerTest, ALongPromptMayBeCutBack) {
  Server server;
  server.Serve(Text(1, 10000), Text(2, 10));
  EXPECT_EQ(server.Serve(Text(1, 9000) + Text(3, 10), {}), 8192);
}

TEST(KvManagerTest, WhoeverWaitsForTheBeginningOfAPromptGoesOnFromThere) {
  Server server;
  const auto system = Text(1, 1500);
  auto first = *server.Begin(system + Text(2, 2000), 100);
  server.Step(first, 512);
  server.manager().AddDeparture(first.kv, 1500);
  server.Step(first, 512);
  server.Step(first, 512);
  auto second = *server.Begin(system + Text(3, 500), 100);
  EXPECT_EQ(second.kv.cached, 1500);
  server.ReadPrompt(second);
  server.ReadPrompt(first);
  server.Finish(first);
  server.Finish(second);
}

TEST(KvManagerTest, NothingIsSharedAcrossScopes) {
  Server server;
  server.Serve(Text(1, 1000), {}, "a");
  EXPECT_EQ(server.Serve(Text(1, 1000), {}, "b"), 0);
  EXPECT_EQ(server.Serve(Text(1, 1000), {}), 0);
  EXPECT_EQ(server.Serve(Text(1, 1000), {}, "a"), 999);
}

TEST(KvManagerTest, WhatIsNotToBeSharedNeitherTakesNorLeavesAnything) {
  Server server;
  server.Serve(Text(1, 1000), {}, "", false);
  EXPECT_EQ(server.manager().tree().nodes(), 0);
  EXPECT_EQ(server.Serve(Text(1, 1000), {}), 0);
  EXPECT_EQ(server.Serve(Text(1, 1000), {}, "", false), 0);
}

TEST(KvManagerTest, ACancelledRequestLeavesWhatItHasRead) {
  Server server;
  auto running = *server.Begin(Text(1, 4000), 100);
  server.ReadPrompt(running);
  server.Cancel(running);
  EXPECT_EQ(server.manager().full().used(), 0);
  EXPECT_EQ(server.manager().sliding().used(), 0);
  EXPECT_EQ(server.manager().slots_used(), 0);
  EXPECT_EQ(server.Serve(Text(1, 4000), {}), 3999);
}

// Nobody's failed turn costs the turns before it.
TEST(KvManagerTest, ATurnThatIsCancelledLeavesTheConversationAsItWas) {
  Server server;
  const auto history = Text(1, 1500) + Text(2, 100);
  server.Serve(Text(1, 1500), Text(2, 100));
  auto turn = *server.Begin(history + Text(3, 3000), 100);
  server.Step(turn, 512);
  server.Cancel(turn);
  EXPECT_EQ(server.Serve(history + Text(4, 10), {}), 1600);
}

// A sequence that reads on from the beginning of another's block gives its window to both.
TEST(KvManagerTest, AWindowThatTwoPromptsHaveStaysForTheSecond) {
  Server server({.resume_points = 3});
  const auto begin = Text(1, 20), prompt = begin + Text(3, 600);
  server.Serve(begin + Text(2, 1000), {});
  auto running = *server.Begin(prompt);
  server.manager().AddDeparture(running.kv, 20);
  server.Step(running, 20);
  server.ReadPrompt(running);
  server.Finish(running);
  server.Serve(Text(4, 100), {});
  server.Serve(Text(5, 100), {});  // the first prompt's resume points are gone
  auto other = *server.Begin(Text(6, 1000));
  server.Step(other, 500);
  EXPECT_EQ(server.Serve(prompt + Text(7, 10), {}), 620);
  server.Cancel(other);
}

// What waits for room holds none, not even what it would begin with.
TEST(KvManagerTest, APromptThatDoesNotFitHoldsNothing) {
  Server server({.sequences = 3, .context = 2560, .full_blocks = 20});
  server.Serve(Text(1, 1000), {});
  std::vector<Server::Running> running;
  running.push_back(*server.Begin(Text(2, 100), 1900));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(server.Begin(Text(1, 1000) + Text(3, 10), 1500));
  server.ExpectAllBlocksAccountedFor(running);
  server.ReadPrompt(running[0]);
  server.Write(running[0], Text(4, 1900));
  server.ExpectAllBlocksAccountedFor(running);
  server.Finish(running[0]);
}

TEST(KvManagerTest, SequencesArePromisedAllThatTheyMayNeed) {
  Server server({.sequences = 4, .context = 2048, .full_blocks = 20});
  auto a = *server.Begin(Text(1, 100), 1500);
  EXPECT_FALSE(server.Begin(Text(2, 100), 800).has_value()) << "13 blocks are promised";
  auto b = *server.Begin(Text(2, 100), 700);
  EXPECT_EQ(server.manager().full().used(), 0);
  for (auto* running : {&a, &b}) server.ReadPrompt(*running);
  EXPECT_EQ(server.manager().full().used(), 2);
  server.Write(b, Text(3, 700));
  server.Write(a, Text(3, 1500));
  EXPECT_EQ(server.manager().full().used(), 20);
  server.Cancel(a);
  server.Cancel(b);
  EXPECT_EQ(server.manager().full().used(), 0);
}

// What goes on past its promise takes what nobody was promised.
TEST(KvManagerTest, APromiseGrowsAsFarAsNobodyElseIsPromised) {
  Server server({.sequences = 4, .context = 2048, .full_blocks = 20});
  server.Serve(Text(9, 600), {});
  auto a = *server.Begin(Text(1, 100), 400);
  auto b = *server.Begin(Text(2, 100), 800);
  EXPECT_TRUE(server.manager().Promise(a.kv, 500)) << "as it was";
  server.ReadPrompt(a);
  server.Write(a, Text(3, 400));
  EXPECT_TRUE(server.manager().Promise(a.kv, 12 * kBlock)) << "of what only the cache keeps";
  EXPECT_FALSE(server.manager().Promise(a.kv, 12 * kBlock + 1)) << "8 blocks are the other one's";
  server.Write(a, Text(4, 12 * kBlock - 500));
  server.ReadPrompt(b);
  server.Write(b, Text(5, 800));
  server.Cancel(b);
  EXPECT_TRUE(server.manager().Promise(a.kv, 2048));
  server.Cancel(a);
  EXPECT_TRUE(server.Begin(Text(6, 1), 20 * kBlock - 1).has_value()) << "no promise is left";
}

TEST(KvManagerTest, APausedSequenceGoesOnWhereItStopped) {
  for (const int written : {0, 1, 127, 128, 600}) {
    Server server({.sequences = 2});
    auto running = *server.Begin(Text(1, 1000), 2000);
    server.ReadPrompt(running);
    server.Write(running, Text(2, written));
    server.Finish(running);
    auto back = *server.Begin(running.contents + Text(3, 1), 1000);
    EXPECT_EQ(back.kv.cached, 1000 + written);
    server.Cancel(back);
  }
  Server server;
  auto untouched = *server.Begin(Text(1, 1000), 10);
  server.Finish(untouched);
  EXPECT_EQ(server.manager().tree().nodes(), 0);
}

// What an answer may need does not take the place of what is there.
TEST(KvManagerTest, APromiseWashesNothingOut) {
  Server server({.sequences = 2, .context = 2048, .full_blocks = 24});
  server.Serve(Text(1, 1000), {});
  auto long_answer = *server.Begin(Text(2, 100), 1900);
  server.ReadPrompt(long_answer);
  EXPECT_EQ(server.Serve(Text(1, 1000), {}), 999);
  server.Write(long_answer, Text(3, 1900));
  server.Finish(long_answer);
  EXPECT_EQ(server.Serve(Text(1, 1000), {}), 999);
}

TEST(KvManagerTest, RunningSequencesShareWhatTheyBeginWith) {
  Server server({.sequences = 4, .context = 2048, .full_blocks = 24});
  const auto prompt = Text(1, 1280);
  server.Serve(prompt, {});
  auto a = *server.Begin(prompt + Text(2, 10), 100);
  auto b = *server.Begin(prompt + Text(3, 10), 100);
  auto c = *server.Begin(prompt + Text(4, 10), 100);
  for (auto* running : {&a, &b, &c}) server.ReadPrompt(*running);
  EXPECT_EQ(server.manager().full().used(), 10 + 3) << "ten blocks for all, and one for each";
  for (auto* running : {&a, &b, &c}) {
    server.Write(*running, Text(9, 60));
    server.Finish(*running);
  }
}

// Two read the same at the same time, neither knowing of the other: one copy of it stays.
TEST(KvManagerTest, EqualBlocksBecomeOne) {
  Server server;
  auto a = *server.Begin(Text(1, 1280), 200);
  auto b = *server.Begin(Text(1, 1280), 200);
  server.ReadPrompt(a);
  server.ReadPrompt(b);
  EXPECT_EQ(server.manager().tree().nodes(), 10);
  EXPECT_EQ(server.manager().full().used(), 10);
  server.Write(a, Text(2, 200));
  server.Write(b, Text(2, 200));
  server.Finish(a);
  server.Finish(b);
}

TEST(KvManagerTest, RequestsThatComeOnceDoNotWashOutAConversation) {
  Server server({.context = 4096, .full_blocks = 128, .resume_points = 8});
  auto history = Text(1, 1500);
  for (int turn = 0; turn < 3; ++turn) {
    const int before = static_cast<int>(history.size());
    const int cached = server.Serve(history + Text(100 + turn, 40), Text(200 + turn, 60));
    EXPECT_EQ(cached, turn == 0 ? 0 : before);
    history = history + Text(100 + turn, 40) + Text(200 + turn, 60);
  }
  for (int i = 0; i < 1000; ++i) server.Serve(Text(1000 + i, 700), {});
  EXPECT_EQ(server.Serve(history + Text(300, 40), {}), static_cast<int>(history.size()));
}

TEST(KvManagerTest, WhatWasUsedLongAgoMakesRoom) {
  Server server({.context = 4096, .full_blocks = 64, .resume_points = 8});
  for (int i = 0; i < 50; ++i) {
    server.Serve(Text(i, 1000), {});
    EXPECT_EQ(server.Serve(Text(i, 1000), {}), 999) << i;
  }
  EXPECT_EQ(server.Serve(Text(0, 1000), {}), 0);
}

TEST(KvManagerTest, TellsWhyPromptsWereRead) {
  Server server({.context = 4096, .full_blocks = 64, .resume_points = 8});
  auto missed = [&, before = CacheCounts()]() mutable {
    const CacheCounts now = server.manager().counts();
    const std::vector<int64_t> more = {now.missed_new - before.missed_new,
                                       now.missed_evicted - before.missed_evicted,
                                       now.missed_window - before.missed_window};
    before = now;
    return more;
  };
  using Misses = std::vector<int64_t>;
  const auto system = Text(1, 2000);
  server.Serve(system + Text(2, 700), {});
  EXPECT_EQ(missed(), (Misses{2699, 0, 0}));
  server.Serve(system + Text(2, 700), {});
  EXPECT_EQ(missed(), (Misses{0, 0, 0}));
  server.Serve(system + Text(3, 300), {});
  EXPECT_EQ(missed(), (Misses{299, 0, 2000}));
  server.Serve(system, {}, "other", false);
  EXPECT_EQ(missed(), (Misses{0, 0, 0})) << "it did not look";
  EXPECT_EQ(server.manager().counts().evicted_blocks, 0);
  for (int i = 0; i < 50; ++i) server.Serve(Text(10 + i, 1000), {});
  EXPECT_EQ(missed(), (Misses{50 * 999, 0, 0}));
  server.Serve(Text(10, 1000), {});
  EXPECT_EQ(missed(), (Misses{999 - 7 * kBlock, 7 * kBlock, 0})) << "whole blocks are remembered";
  server.Serve(Text(10, 1000), {}, "other");
  EXPECT_EQ(missed(), (Misses{999, 0, 0})) << "of each scope by itself";
  const CacheCounts counts = server.manager().counts();
  EXPECT_GT(counts.evicted_blocks, 50 * 8 - 64);
  EXPECT_GT(counts.evicted_resume_points, 40);
  EXPECT_EQ(counts.resume_points, server.manager().tree().resume_points());
}

// All that can happen, in any order: rows always see what they would see in a fresh read, and every
// block is accounted for.
TEST(KvManagerTest, RandomHistoriesAreReadAsIfAfresh) {
  for (unsigned seed = 0; seed < 10000; ++seed) {
    std::mt19937 random(seed);
    const auto any = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    const Sizes sizes{.sequences = 1 + any(6),
                      .context = 3072,
                      .chunk = 64 << any(4),
                      .full_blocks = 24 + any(80),
                      .resume_points = any(12)};
    Server server(sizes);
    std::vector<std::vector<Content>> histories = {Text(1, 1), Text(1, 700), Text(1, 1300)};
    std::vector<Server::Running> running;
    for (int event = 0; event < 150 && !testing::Test::HasFatalFailure(); ++event) {
      const int what = any(10);
      if (what < 3 && histories.size() < 60) {
        auto prompt = histories[any(static_cast<int>(histories.size()))];
        if (any(3) == 0) prompt.resize(1 + any(static_cast<int>(prompt.size())));
        prompt = prompt + Text(10 + event, 1 + any(400));
        if (prompt.size() > 2500) continue;
        auto next = server.Begin(prompt, any(500), any(5) == 0 ? "other" : "", any(8) > 0);
        if (next) running.push_back(*std::move(next));
      } else if (!running.empty()) {
        const size_t i = static_cast<size_t>(any(static_cast<int>(running.size())));
        Server::Running& r = running[i];
        const int wanted = std::min(r.read + 1 + any(200), sizes.context);
        if (any(4) == 0) server.manager().Promise(r.kv, wanted);
        const int room =
            (static_cast<int>(r.kv.blocks.full.size()) + r.kv.promised) * kBlock - r.read;
        if (what == 9 || (what == 8 && (r.read < r.prompt || room == 0))) {
          server.Cancel(r);
          running.erase(running.begin() + static_cast<ptrdiff_t>(i));
        } else if (what == 8) {
          server.Finish(r);
          histories.push_back(r.contents);
          running.erase(running.begin() + static_cast<ptrdiff_t>(i));
        } else if (r.read < r.prompt) {
          if (any(3) == 0) server.manager().AddDeparture(r.kv, r.read + 1 + any(r.prompt - r.read));
          server.Step(r, std::min(1 + any(sizes.chunk), r.prompt - r.read));
        } else {
          server.Write(r, Text(5000 + any(3), std::min(room, 1 + any(200))));
        }
      }
      const KvManager& manager = server.manager();
      server.ExpectAllBlocksAccountedFor(running);
      ASSERT_LE(manager.full().used(), sizes.full_blocks);
      ASSERT_LE(manager.tree().resume_points(), sizes.resume_points);
    }
    for (auto& r : running) server.Cancel(r);
    EXPECT_EQ(server.manager().full().used(), 0);
    EXPECT_EQ(server.manager().sliding().used(), 0);
    // Nothing was lost: all blocks can be had at once.
    auto all = server.Begin(Text(9999, 1), sizes.full_blocks * kBlock - 1, "", false);
    ASSERT_TRUE(all.has_value());
    server.ReadPrompt(*all);
    server.Write(*all, Text(9999, sizes.full_blocks * kBlock - 1));
    EXPECT_EQ(server.manager().full().used(), sizes.full_blocks);
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace softsplice
