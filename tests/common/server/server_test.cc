#include "common/server/server.h"

#include <gtest/gtest.h>

#include "tests/common/server/client.h"

namespace softsplice {
namespace {

// As its client sees it, which would keep it for half an hour.
bool IsClosed(BareServer& bare) {
  return bare.channel()->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_IDLE;
}

TEST(Server, ClosesAConnectionWithoutCalls) {
  BareServer bare({.max_connection_idle = absl::Milliseconds(200)});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(bare.Check(""), HealthStatus::SERVING) << "whoever comes again is welcome";
    EXPECT_TRUE(Eventually([&] { return IsClosed(bare); }));
  }
}

TEST(Server, KeepsAConnectionWithACall) {
  BareServer bare({.max_connection_idle = absl::Milliseconds(200)});
  grpc::ClientContext context;
  HealthStatus response;
  const auto watch = bare.stub().Watch(&context, {});
  ASSERT_TRUE(watch->Read(&response));
  absl::SleepFor(absl::Seconds(2));
  EXPECT_FALSE(IsClosed(bare));
  context.TryCancel();
  EXPECT_TRUE(Eventually([&] { return IsClosed(bare); }));
}

}  // namespace
}  // namespace softsplice
