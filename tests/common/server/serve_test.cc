#include "common/server/serve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "common/server/health.h"
#include "tests/common/server/client.h"

namespace softsplice {
namespace {

const Logger& Quiet() {
  static const Logger logger(LogFormat::kText, LogLevel::kError, -1);
  return logger;
}

Vitality Well() { return {.heartbeat = SteadyNow()}; }

TEST(Serve, EndsWellAfterASignal) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    BareServer bare;
    StopSignal stop;
    LivePhase phase = Phase::kLoading;
    stop.Arm();
    raise(signal);
    EXPECT_EQ(ServeUntilStopped(bare.server(), stop, phase, {}, Quiet(), Well), absl::OkStatus());
    EXPECT_EQ(phase, Phase::kDraining);
  }
}

TEST(Serve, SaysNotServingWhileALameDuckAndStillAnswers) {
  BareServer bare;
  StopSignal stop;
  LivePhase phase = Phase::kLoading;
  std::thread serving([&] {
    ServeOptions options = {.lame_duck = absl::Seconds(3)};
    EXPECT_EQ(ServeUntilStopped(bare.server(), stop, phase, options, Quiet(), Well),
              absl::OkStatus());
  });
  stop.Arm();
  EXPECT_TRUE(Eventually([&] { return phase == Phase::kReady; }));
  kill(getpid(), SIGTERM);
  EXPECT_TRUE(Eventually([&] { return bare.Check("") == HealthStatus::NOT_SERVING; }));
  EXPECT_EQ(phase, Phase::kDraining);
  EXPECT_EQ(bare.Check(kLivenessName), HealthStatus::SERVING);
  serving.join();
}

TEST(Serve, EndsWithTheFailureOfItsEngine) {
  BareServer bare;
  StopSignal stop;
  LivePhase phase = Phase::kLoading;
  const auto broken = [] { return Vitality{.failure = absl::InternalError("the device is gone")}; };
  const absl::Status end = ServeUntilStopped(bare.server(), stop, phase, {}, Quiet(), broken);
  EXPECT_EQ(end, absl::InternalError("the device is gone"));
}

TEST(Serve, TellsThatItsEngineHangs) {
  BareServer bare;
  StopSignal stop;
  LivePhase phase = Phase::kLoading;
  std::atomic<absl::Duration> heartbeat = SteadyNow() - absl::Minutes(3);
  std::thread serving([&] {
    const absl::Status end = ServeUntilStopped(bare.server(), stop, phase, {}, Quiet(),
                                               [&] { return Vitality{.heartbeat = heartbeat}; });
    EXPECT_EQ(end, absl::OkStatus());
  });
  for (const char* name : {"", kLivenessName}) {
    EXPECT_TRUE(Eventually([&] { return bare.Check(name) == HealthStatus::NOT_SERVING; })) << name;
  }
  EXPECT_EQ(phase, Phase::kStalled);
  heartbeat = SteadyNow();
  for (const char* name : {"", kLivenessName}) {
    EXPECT_TRUE(Eventually([&] { return bare.Check(name) == HealthStatus::SERVING; })) << name;
  }
  EXPECT_EQ(phase, Phase::kReady);
  kill(getpid(), SIGTERM);
  serving.join();
}

TEST(Serve, EndsWhenNobodyCanReachIt) {
  BareServer bare;
  StopSignal stop;
  LivePhase phase = Phase::kLoading;
  ASSERT_EQ(unlink(bare.server().address().substr(5).c_str()), 0);
  const absl::Status end = ServeUntilStopped(bare.server(), stop, phase,
                                             {.deaf = absl::Milliseconds(500)}, Quiet(), Well);
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(end.message()), testing::HasSubstr("has not answered for"));
}

TEST(Serve, DoesNotTakeAFullHouseForDeafness) {
  BareServer bare({.max_connections = 1});
  StopSignal stop;
  LivePhase phase = Phase::kLoading;
  ASSERT_EQ(bare.Check(""), HealthStatus::SERVING);  // the one connection
  std::thread serving([&] {
    EXPECT_EQ(ServeUntilStopped(bare.server(), stop, phase, {.deaf = absl::Milliseconds(200)},
                                Quiet(), Well),
              absl::OkStatus());
  });
  EXPECT_TRUE(Eventually([&] { return bare.server().listener().refused() > 20; }));
  kill(getpid(), SIGTERM);
  serving.join();
}

TEST(StopSignalDeathTest, EndsTheProcessWhateverItsThreadsDo) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        StopSignal stop;
        LivePhase phase = Phase::kLoading;
        stop.ExitWithin(absl::Milliseconds(20), 3);
        while (true) pause();
      },
      testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace softsplice
