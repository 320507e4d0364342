#include "decoder_svc/server/read_ahead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/decoder_svc/server/fake_engine.h"

namespace softsplice {
namespace {

using testing::SizeIs;

class ReadAheadTest : public testing::Test {
 protected:
  void Read(int tokens) {
    EngineRequest beginning;
    beginning.prompt.tokens.assign(static_cast<size_t>(tokens), 7);
    ahead_->Read(Priority::kNormal, std::move(beginning));
  }

  Border border_{{.max_bytes = 1 << 20}};
  FakeEngine engine_{{}};
  const std::shared_ptr<ReadAhead> ahead_ = std::make_shared<ReadAhead>(engine_, border_);
};

TEST_F(ReadAheadTest, GoesOnWhenMuchMoreIsThere) {
  for (const int tokens : {127, 128, 255, 256}) Read(tokens);
  ASSERT_THAT(engine_.ahead(), SizeIs(2));
  EXPECT_THAT(engine_.ahead()[0].beginning.prompt.tokens, SizeIs(128));
  EXPECT_THAT(engine_.ahead()[1].beginning.prompt.tokens, SizeIs(256));
  EXPECT_TRUE(engine_.IsCancelled(engine_.ahead()[0].handle));
  EXPECT_FALSE(engine_.IsCancelled(engine_.ahead()[1].handle));
  ahead_->Stop();
  EXPECT_TRUE(engine_.IsCancelled(engine_.ahead()[1].handle));
  Read(1000);
  EXPECT_THAT(engine_.ahead(), SizeIs(2));
}

TEST_F(ReadAheadTest, KnowsWhatWasCachedBefore) {
  EXPECT_EQ(ahead_->CachedBefore(50), 50) << "nothing was read ahead";
  Read(300);
  const auto first = engine_.ahead()[0].sink;
  first->OnAdmitted(40);
  EXPECT_EQ(ahead_->CachedBefore(50), 50);
  first->OnPrefill(200, 300);
  Read(600);
  const auto second = engine_.ahead()[1].sink;
  second->OnAdmitted(200);
  second->OnPrefill(600, 600);
  EXPECT_EQ(ahead_->CachedBefore(600), 40);
  EXPECT_EQ(ahead_->CachedBefore(30), 30) << "most of it is not there any more";
  EXPECT_EQ(ahead_->CachedBefore(700), 140) << "others have read more of it";
}

TEST_F(ReadAheadTest, TakesItsBytesFromTheBudget) {
  Read(10000);
  EXPECT_THAT(engine_.ahead(), SizeIs(1));
  EXPECT_EQ(border_.live_bytes(), 10000 * kBytesPerPromptToken);
  Read(30000);  // which the budget does not hold
  EXPECT_THAT(engine_.ahead(), SizeIs(1));
}

}  // namespace
}  // namespace softsplice
