#include "common/server/call.h"

#include <gtest/gtest.h>

namespace softsplice {
namespace {

TEST(RequestId, IsSaneOnlyIfShortAndPlain) {
  EXPECT_TRUE(IsSaneRequestId("a1.B_-"));
  EXPECT_TRUE(IsSaneRequestId(std::string(64, 'x')));
  EXPECT_FALSE(IsSaneRequestId(""));
  EXPECT_FALSE(IsSaneRequestId(std::string(65, 'x')));
  EXPECT_FALSE(IsSaneRequestId("a b"));
  EXPECT_FALSE(IsSaneRequestId("a\nb"));
  EXPECT_FALSE(IsSaneRequestId("\"}"));
}

TEST(Traceparent, IsW3C) {
  EXPECT_TRUE(IsSaneTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  EXPECT_FALSE(IsSaneTraceparent(""));
  EXPECT_FALSE(IsSaneTraceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  EXPECT_FALSE(IsSaneTraceparent("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
  EXPECT_FALSE(IsSaneTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"));
  EXPECT_FALSE(IsSaneTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736000f067aa0ba902b7-01"));
}

TEST(HostOf, LeavesThePortOut) {
  EXPECT_EQ(HostOf("ipv4:10.0.0.7:5123"), "10.0.0.7");
  EXPECT_EQ(HostOf("ipv6:%5B2001:db8::1%5D:5123"), "%5B2001:db8::1%5D");
  EXPECT_EQ(HostOf("unix:"), "unix");
  EXPECT_EQ(HostOf("unix:/run/client:1.sock"), "unix");
  EXPECT_EQ(HostOf("unknown"), "unknown");
  EXPECT_EQ(HostOf("fd:7"), "fd:7");
  EXPECT_EQ(HostOf(""), "");
}

}  // namespace
}  // namespace softsplice
