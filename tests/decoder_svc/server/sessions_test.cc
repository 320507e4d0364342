// Sessions by themselves, on a clock that the test sets.
#include "decoder_svc/server/sessions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

std::string ReasonOf(const absl::Status& status) { return GetErrorDetail(status).reason; }

v1::Message Text(const std::string& text) {
  v1::Message message;
  message.add_parts()->set_text(text);
  return message;
}

Caller From(const std::string& host) { return {.host = host}; }
const Caller kSomeone = From("someone");

class SessionsTest : public testing::Test {
 protected:
  SessionOptions Options() {
    return {.max_sessions = 4, .max_bytes = 200000, .advertise = "me:1", .clock = [this] {
              return now_;
            }};
  }
  std::string Create() { return *sessions_.Create(kSomeone, absl::ZeroDuration(), "salt"); }
  void Say(const std::string& id, const std::string& text) {
    auto turn = sessions_.Begin(kSomeone, id, text.size());
    ASSERT_TRUE(turn.ok()) << turn.status();
    turn->Commit({Text(text)});
  }
  std::string Told(const std::string& id) {
    auto turn = sessions_.Begin(kSomeone, id, 0);
    EXPECT_TRUE(turn.ok()) << turn.status();
    std::string told;
    for (const auto& message : *turn->history()) told += message->parts(0).text();
    return told;
  }

  absl::Duration now_ = absl::Hours(5);
  Sessions sessions_{Options()};
};

TEST_F(SessionsTest, KeepWhatIsCommitted) {
  const std::string id = Create();
  Say(id, "a");
  Say(id, "b");
  EXPECT_EQ(Told(id), "ab");
  EXPECT_EQ(sessions_.Begin(kSomeone, id, 0)->salt(), "salt");
}

TEST_F(SessionsTest, StandWhereTheyStoodWithoutACommit) {
  const std::string id = Create();
  Say(id, "a");
  { auto turn = sessions_.Begin(kSomeone, id, 10); }
  EXPECT_EQ(Told(id), "a");
}

TEST_F(SessionsTest, TakeOneRequestAtATime) {
  const std::string id = Create();
  {
    const auto turn = sessions_.Begin(kSomeone, id, 0);
    const absl::Status second = sessions_.Begin(kSomeone, id, 0).status();
    EXPECT_TRUE(absl::IsAborted(second));
    EXPECT_EQ(ReasonOf(second), "SESSION_BUSY");
    EXPECT_GT(GetErrorDetail(second).retry_after, absl::ZeroDuration());
  }
  EXPECT_TRUE(sessions_.Begin(kSomeone, id, 0).ok());
}

TEST_F(SessionsTest, ForksGoTheirOwnWays) {
  const std::string id = Create();
  Say(id, "a");
  const std::string fork = *sessions_.Fork(kSomeone, id);
  EXPECT_NE(fork, id);
  Say(id, "b");
  Say(fork, "c");
  EXPECT_EQ(Told(id), "ab");
  EXPECT_EQ(Told(fork), "ac");
}

TEST_F(SessionsTest, ExpireAfterTheirTime) {
  const std::string usual = Create();
  const std::string longer = *sessions_.Create(kSomeone, absl::Hours(2), "");
  now_ += absl::Minutes(14);
  EXPECT_EQ(Told(usual), "");
  now_ += absl::Minutes(14);
  EXPECT_EQ(Told(usual), "") << "each request begins the time anew";
  now_ += absl::Minutes(15);
  EXPECT_EQ(sessions_.count(), 1);
  EXPECT_EQ(ReasonOf(sessions_.Begin(kSomeone, usual, 0).status()), "SESSION_EXPIRED");
  EXPECT_EQ(Told(longer), "");
  const absl::Status too_long = sessions_.Create(kSomeone, absl::Hours(25), "").status();
  EXPECT_TRUE(absl::IsInvalidArgument(too_long));
  EXPECT_TRUE(absl::IsInvalidArgument(sessions_.Create(kSomeone, -absl::Seconds(1), "").status()));
}

TEST_F(SessionsTest, DoNotExpireWhileARequestIsInThem) {
  const std::string id = Create();
  auto turn = sessions_.Begin(kSomeone, id, 0);
  now_ += absl::Hours(1);
  EXPECT_EQ(sessions_.count(), 1);
  turn->Commit({Text("a")});
  *turn = {};
  EXPECT_EQ(Told(id), "a");
}

TEST_F(SessionsTest, AreGoneOnceDeleted) {
  const std::string id = Create();
  Say(id, "a");
  {
    auto turn = sessions_.Begin(kSomeone, id, 0);
    EXPECT_TRUE(sessions_.Delete(kSomeone, id).ok());
    turn->Commit({Text("b")});  // of a request that went on meanwhile
  }
  EXPECT_EQ(ReasonOf(sessions_.Delete(kSomeone, id)), "SESSION_EXPIRED");
  EXPECT_EQ(sessions_.count(), 0);
}

TEST_F(SessionsTest, SayWhereTheyAre) {
  const std::string id = Create();
  EXPECT_EQ(ReasonOf(sessions_.Begin(kSomeone, "nonsense", 0).status()), "SESSION_EXPIRED");
  EXPECT_EQ(ReasonOf(sessions_.Fork(kSomeone, id + "0").status()), "SESSION_EXPIRED");
  const Sessions started_anew(Options());
  Sessions again(Options());
  EXPECT_EQ(ReasonOf(again.Begin(kSomeone, id, 0).status()), "SESSION_LOST");
  SessionOptions options = Options();
  options.advertise = "other:1";
  Sessions other(options);
  const absl::Status status = other.Begin(kSomeone, id, 0).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(ReasonOf(status), "SESSION_ELSEWHERE");
  EXPECT_EQ(GetErrorDetail(status).endpoint, "me:1");
}

TEST_F(SessionsTest, AreBoundedInNumberAndForEachClient) {
  EXPECT_TRUE(sessions_.Create(From("a"), absl::ZeroDuration(), "").ok());
  const std::string id = *sessions_.Create(From("a"), absl::ZeroDuration(), "");
  EXPECT_EQ(ReasonOf(sessions_.Create(From("a"), absl::ZeroDuration(), "").status()),
            "SESSIONS_FULL");
  EXPECT_EQ(ReasonOf(sessions_.Fork(From("a"), id).status()), "SESSIONS_FULL");
  EXPECT_TRUE(sessions_.Create(From("b"), absl::ZeroDuration(), "").ok());
  EXPECT_TRUE(sessions_.Create(From("b"), absl::ZeroDuration(), "").ok());
  EXPECT_EQ(ReasonOf(sessions_.Create(From("c"), absl::ZeroDuration(), "").status()),
            "SESSIONS_FULL");
  EXPECT_TRUE(sessions_.Delete(kSomeone, id).ok());
  EXPECT_TRUE(sessions_.Create(From("c"), absl::ZeroDuration(), "").ok());
}

// What several share counts once; what is deleted counts no more.
TEST_F(SessionsTest, AreBoundedInBytes) {
  const std::string id = Create();
  Say(id, std::string(100000, 'x'));
  const std::string fork = *sessions_.Fork(kSomeone, id);
  EXPECT_EQ(ReasonOf(sessions_.Begin(kSomeone, fork, 50000).status()), "SESSIONS_FULL");
  EXPECT_TRUE(sessions_.Begin(kSomeone, fork, 30000).ok());
  {
    const auto turn = sessions_.Begin(kSomeone, id, 1000);
    ASSERT_TRUE(turn.ok());
    EXPECT_EQ(ReasonOf(sessions_.Begin(kSomeone, fork, 1000).status()), "SESSIONS_FULL")
        << "the other request has its answer to come";
  }
  EXPECT_TRUE(sessions_.Delete(kSomeone, id).ok());
  EXPECT_TRUE(sessions_.Delete(kSomeone, fork).ok());
  EXPECT_TRUE(sessions_.Begin(kSomeone, Create(), 100000).ok());
}

// A part of one byte takes some ninety.
TEST_F(SessionsTest, AreBoundedByWhatTheirMessagesTake) {
  v1::Message many;
  for (int i = 0; i < 1000; ++i) many.add_parts()->set_text("x");
  ASSERT_LT(many.ByteSizeLong(), 10000u);
  EXPECT_GT(BytesOf(many), 1000 * 96u);
  const std::string id = Create();
  { sessions_.Begin(kSomeone, id, BytesOf(many))->Commit({many}); }
  EXPECT_EQ(ReasonOf(sessions_.Begin(kSomeone, id, BytesOf(many)).status()), "SESSIONS_FULL");
  EXPECT_TRUE(sessions_.Delete(kSomeone, id).ok());
  EXPECT_TRUE(sessions_.Begin(kSomeone, Create(), BytesOf(many)).ok());
}

// Names come of tokens or certificates; who has another one finds no session, wherever he is.
TEST_F(SessionsTest, AreForTheirOwnersName) {
  const Caller alice = {.name = "alice", .host = "a"};
  const Caller elsewhere = {.name = "alice", .host = "b"};
  const Caller bob = {.name = "bob", .host = "a"};
  const std::string id = *sessions_.Create(alice, absl::ZeroDuration(), "");
  EXPECT_TRUE(sessions_.Begin(elsewhere, id, 0).ok());
  EXPECT_EQ(ReasonOf(sessions_.Begin(bob, id, 0).status()), "SESSION_EXPIRED");
  EXPECT_EQ(ReasonOf(sessions_.Fork(bob, id).status()), "SESSION_EXPIRED");
  EXPECT_EQ(ReasonOf(sessions_.Delete(bob, id)), "SESSION_EXPIRED");
  EXPECT_TRUE(sessions_.Create(elsewhere, absl::ZeroDuration(), "").ok());
  EXPECT_EQ(ReasonOf(sessions_.Create(alice, absl::ZeroDuration(), "").status()), "SESSIONS_FULL")
      << "a name has one quota";
  EXPECT_TRUE(sessions_.Create(bob, absl::ZeroDuration(), "").ok());
}

}  // namespace
}  // namespace softsplice
