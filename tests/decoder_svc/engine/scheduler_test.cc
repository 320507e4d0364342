// What a step works on: each rule by itself, then histories of many sequences against a virtual
// clock.
#include "decoder_svc/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "decoder_svc/engine/fair_share.h"

namespace softsplice {
namespace {

using testing::ElementsAre;

constexpr StepLimits kLimits{.chunk = 512, .stall_target = absl::Milliseconds(300)};

std::vector<int> Rows(std::vector<Turn> turns, double rows_per_second,
                      const StepLimits& limits = kLimits, int batch_due = 0) {
  PlanStep(absl::MakeSpan(turns), limits, rows_per_second, batch_due);
  std::vector<int> rows;
  for (const Turn& turn : turns) rows.push_back(turn.rows);
  return rows;
}

Turn Writes() { return {}; }
Turn Prompt(int left, int64_t spent = 0) { return {.prompt_left = left, .spent = spent}; }

TEST(PromptBudgetTest, IsAChunkWhereNobodyWaits) {
  EXPECT_EQ(PromptBudget(0, kLimits, 0), 512);
  EXPECT_EQ(PromptBudget(0, kLimits, 10), 512);
}

TEST(PromptBudgetTest, IsWhatFitsTheStallTarget) {
  EXPECT_EQ(PromptBudget(1, kLimits, 200), 60);
  EXPECT_EQ(PromptBudget(4, kLimits, 200), 60);
  EXPECT_EQ(PromptBudget(1, kLimits, 1e9), 512) << "never more than a chunk";
  EXPECT_EQ(PromptBudget(1, kLimits, 10), 16) << "never less than costs as much";
  EXPECT_EQ(PromptBudget(1, kLimits, 0), 16) << "nothing is known";
  EXPECT_EQ(PromptBudget(1, {.chunk = 7}, 0), 7);
}

TEST(PlanStepTest, WhoeverWritesGetsOneRow) {
  EXPECT_THAT(Rows({Writes(), Writes(), Writes()}, 200), ElementsAre(1, 1, 1));
  EXPECT_THAT(Rows({Writes(), Prompt(1000), Writes()}, 200), ElementsAre(1, 60, 1));
  EXPECT_THAT(Rows({}, 200), ElementsAre());
}

TEST(PlanStepTest, OnePromptGetsAll) {
  EXPECT_THAT(Rows({Prompt(1000)}, 200), ElementsAre(512));
  EXPECT_THAT(Rows({Prompt(100)}, 200), ElementsAre(100));
  EXPECT_THAT(Rows({Prompt(1000)}, 200, {.chunk = 1}), ElementsAre(1));
}

TEST(PlanStepTest, TheOldestGetsHalfAndTheShortestTheRest) {
  EXPECT_THAT(Rows({Prompt(100000), Prompt(900), Prompt(200), Prompt(300)}, 200),
              ElementsAre(256, 0, 200, 56));
  EXPECT_THAT(Rows({Prompt(300), Prompt(400)}, 200), ElementsAre(300, 212))
      << "its own rest may be the shortest";
  EXPECT_THAT(Rows({Prompt(400), Prompt(400)}, 200), ElementsAre(400, 112))
      << "the older one of equals";
  EXPECT_THAT(Rows({Prompt(10), Prompt(20)}, 200), ElementsAre(10, 20));
}

TEST(PlanStepTest, RowsFarIntoAPromptCountForMore) {
  const auto far = [](int left, double weight) {
    return Turn{.prompt_left = left, .weight = weight};
  };
  EXPECT_THAT(Rows({Writes(), far(1000, 4)}, 200), ElementsAre(1, 15));
  EXPECT_THAT(Rows({Writes(), far(1000, 3), Prompt(900)}, 200), ElementsAre(1, 10, 30));
  EXPECT_THAT(Rows({Writes(), far(1000, 100)}, 200), ElementsAre(1, 1)) << "at least one";
  EXPECT_THAT(Rows({far(1000, 4)}, 200), ElementsAre(512)) << "nobody waits";
  EXPECT_THAT(Rows({Writes(), far(1000, 1.01)}, 1e9), ElementsAre(1, 507)) << "never over a chunk";
}

TEST(PlanStepTest, TheClientThatHadLeastGoesFirst) {
  EXPECT_THAT(Rows({Prompt(5000, 70), Prompt(5000, 60), Prompt(900, 70), Prompt(5000, 60)}, 200),
              ElementsAre(0, 256, 256, 0));
}

TEST(PlanStepTest, BatchRequestsTakeWhatNormalOnesLeave) {
  const auto batch = [](Turn turn) {
    turn.batch = true;
    return turn;
  };
  EXPECT_THAT(Rows({batch(Writes()), Writes(), batch(Prompt(100)), Prompt(20)}, 200),
              ElementsAre(1, 1, 39, 20));
  EXPECT_THAT(Rows({batch(Writes()), batch(Prompt(9)), Prompt(600)}, 200), ElementsAre(0, 0, 512));
  EXPECT_THAT(Rows({batch(Prompt(600)), batch(Writes()), batch(Writes())}, 200),
              ElementsAre(510, 1, 1))
      << "nobody else is there";
  EXPECT_THAT(Rows({batch(Writes()), batch(Prompt(900)), Prompt(600)}, 200, kLimits, 26),
              ElementsAre(1, 25, 486))
      << "what they are owed";
  EXPECT_THAT(Rows({batch(Writes()), Prompt(600)}, 200, kLimits, 26), ElementsAre(1, 511))
      << "and no more than they can use";
}

TEST(BatchShareTest, IsOneRowInTwenty) {
  BatchShare share;
  const Turn normal{.prompt_left = 1000, .rows = 30}, waits{.batch = true};
  Turn runs = waits;
  runs.rows = 1;
  share.OnPlan({normal, waits});
  EXPECT_EQ(share.due(), 1);
  share.OnPlan({normal, waits});
  EXPECT_EQ(share.due(), 3);
  share.OnPlan({normal, runs, waits});
  EXPECT_EQ(share.due(), 3) << "91 rows were given, one of them to a batch request";
  share.OnPlan({normal, runs});
  EXPECT_EQ(share.due(), 0) << "nobody waits";
  share.OnPlan({normal, normal});
  EXPECT_EQ(share.due(), 0) << "nobody is there";
}

TEST(PlanStepTest, WhatIsReadAheadGetsWhatAllOthersLeave) {
  const auto ahead = [](Turn turn) {
    turn.ahead = true;
    return turn;
  };
  const Turn batch{.prompt_left = 30, .batch = true};
  EXPECT_THAT(Rows({ahead(Prompt(1000))}, 200), ElementsAre(512));
  EXPECT_THAT(Rows({ahead(Prompt(1000)), Writes()}, 200), ElementsAre(60, 1));
  EXPECT_THAT(Rows({ahead(Prompt(1000)), Prompt(500)}, 200), ElementsAre(12, 500));
  EXPECT_THAT(Rows({ahead(Prompt(1000)), Prompt(2000)}, 200), ElementsAre(0, 512));
  EXPECT_THAT(Rows({ahead(Prompt(1000)), batch, Writes()}, 200), ElementsAre(30, 30, 1));
  // Also that of a batch request: nothing is due to it.
  const Turn both{.prompt_left = 1000, .batch = true, .ahead = true};
  EXPECT_THAT(Rows({both, Prompt(512)}, 200, kLimits, 26), ElementsAre(0, 512));
}

// The engine in numbers: sequences come, are read and written, and each step takes what its rows
// cost (the shape of a CPU: the weights are read once a step, a prompt row costs less than a
// written one).
class History {
 public:
  explicit History(unsigned seed) : random_(seed) {
    limits_.chunk = Any(1, 600);
    limits_.stall_target = absl::Milliseconds(Any(1, 1000));
    most_ = Any(1, 8);
    clients_ = Any(1, 3);
    coming_ = Any(1, 20);
  }

  void Run() {
    while (coming_ > 0 || !sequences_.empty()) {
      while (coming_ > 0 && sequences_.size() < most_ && (sequences_.empty() || Any(0, 3) > 0)) {
        Come();
      }
      Step();
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_EQ(shares_.size(), 0u);
  }

 private:
  struct Sequence {
    std::string client;
    int prompt;
    int answer;
  };

  int Any(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  void Come() {
    --coming_;
    const int size = Any(0, 3);  // up to 10, 100, 1,000 and 10,000 rows
    const int most = size == 0 ? 10 : size == 1 ? 100 : size == 2 ? 1000 : 10000;
    sequences_.push_back({absl::StrCat(Any(1, clients_)), Any(1, most), Any(1, 30)});
    shares_.Enter(sequences_.back().client);
  }

  void Step() {
    std::vector<Turn> turns;
    for (const Sequence& s : sequences_) {
      turns.push_back({.prompt_left = s.prompt, .spent = shares_.Spent(s.client)});
    }
    PlanStep(absl::MakeSpan(turns), limits_, best_, /*batch_due=*/0);
    Check(turns);
    Advance(turns);
  }

  void Check(const std::vector<Turn>& turns) {
    int writing = 0, left = 0, prompt_rows = 0;
    const Turn* next = nullptr;
    for (const Turn& turn : turns) {
      if (turn.prompt_left == 0) {
        ASSERT_EQ(turn.rows, 1);
        ++writing;
        continue;
      }
      ASSERT_GE(turn.rows, 0);
      ASSERT_LE(turn.rows, turn.prompt_left);
      left += turn.prompt_left;
      prompt_rows += turn.rows;
      if (next == nullptr || turn.spent < next->spent) next = &turn;
    }
    // The budget is held, and nothing of it is left while a prompt wants it.
    const int budget = PromptBudget(writing, limits_, best_);
    ASSERT_EQ(prompt_rows, std::min(budget, left));
    ASSERT_GE(prompt_rows + writing, 1);
    // Nobody starves: the oldest of the client that had least gets on by half of it.
    if (next != nullptr) {
      ASSERT_GE(next->rows, std::min(next->prompt_left, (budget + 1) / 2));
    }
    // Whoever waits for the next token waits for what its own rows cost, and the stall target.
    if (writing > 0) {
      const double stall = std::max(absl::ToDoubleSeconds(limits_.stall_target), 16 * kPromptRow);
      ASSERT_LE(Seconds(writing, prompt_rows), Seconds(writing, 0) + stall + 1e-9);
    }
  }

  static constexpr double kWeights = 0.079, kWrittenRow = 0.011, kPromptRow = 0.0053;
  static double Seconds(int writing, int prompt_rows) {
    return std::max(kWeights, kWrittenRow * writing + kPromptRow * prompt_rows);
  }

  void Advance(const std::vector<Turn>& turns) {
    int writing = 0, prompt_rows = 0;
    for (size_t i = 0; i < turns.size(); ++i) {
      Sequence& s = sequences_[i];
      const bool writes = s.prompt == 0;
      (writes ? writing : prompt_rows) += turns[i].rows;
      (writes ? s.answer : s.prompt) -= turns[i].rows;
      shares_.Charge(s.client, turns[i].rows);
      if (s.answer == 0) shares_.Leave(s.client);
    }
    std::erase_if(sequences_, [](const Sequence& s) { return s.answer == 0; });
    best_ = std::max(best_, prompt_rows / Seconds(writing, prompt_rows));
  }

  std::mt19937 random_;
  StepLimits limits_;
  size_t most_;
  int clients_;
  int coming_;
  std::vector<Sequence> sequences_;  // oldest first
  FairShare shares_;
  double best_ = 0;  // rows a second
};

TEST(PlanStepTest, HoldsItsPromisesInEveryHistory) {
  for (unsigned seed = 0; seed < 10000; ++seed) {
    SCOPED_TRACE(absl::StrCat("history ", seed));
    History(seed).Run();
    ASSERT_FALSE(HasFailure());
  }
}

}  // namespace
}  // namespace softsplice
