#include "common/server/status.h"

#include <gtest/gtest.h>

#include "common/status/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace softsplice {
namespace {

TEST(Status, CarriesAllDetails) {
  const grpc::Status status = ToGrpcStatus(MakeError(
      absl::StatusCode::kResourceExhausted, "the queue is full (64 wait)",
      {.reason = "QUEUE_FULL", .field = "chat", .retry_after = absl::Milliseconds(1500)}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "the queue is full (64 wait)");

  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), 8);
  EXPECT_EQ(details.message(), "the queue is full (64 wait)");
  ASSERT_EQ(details.details_size(), 3);
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest request;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  ASSERT_TRUE(details.details(1).UnpackTo(&request));
  ASSERT_TRUE(details.details(2).UnpackTo(&retry));
  EXPECT_EQ(info.reason(), "QUEUE_FULL");
  EXPECT_EQ(info.domain(), "softsplice");
  ASSERT_EQ(request.field_violations_size(), 1);
  EXPECT_EQ(request.field_violations(0).field(), "chat");
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
}

TEST(Status, ComesBackAsItWas) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status =
        MakeError(static_cast<absl::StatusCode>(code), "what happened",
                  {.reason = "WHY", .field = "a.b[1]", .retry_after = absl::Milliseconds(250)});
    const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
    EXPECT_EQ(back, status);
    EXPECT_EQ(static_cast<int>(ToGrpcStatus(status).error_code()), code);
  }
  EXPECT_TRUE(FromGrpcStatus(ToGrpcStatus(absl::OkStatus())).ok());
}

TEST(Status, WithoutReasonHasItsCodesName) {
  const absl::Status back = FromGrpcStatus(ToGrpcStatus(absl::DeadlineExceededError("too late")));
  EXPECT_EQ(GetErrorDetail(back).reason, "DEADLINE_EXCEEDED");
}

TEST(Status, OfOthersHasNoDetails) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused", "\x01garbage"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "refused");
  EXPECT_EQ(GetErrorDetail(status).reason, "");
}

TEST(Status, AReasonOfAnotherDomainIsNotOurs) {
  google::rpc::ErrorInfo info;
  info.set_reason("RATE_LIMITED");
  info.set_domain("some-proxy.example");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  const absl::Status status = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "slow down", details.SerializeAsString()));
  EXPECT_EQ(GetErrorDetail(status).reason, "");
}

TEST(Status, FitsIntoHeadersAndCutsBetweenCharacters) {
  std::string message;
  while (message.size() < 50'000) message += "ä";
  const grpc::Status status = ToGrpcStatus(InvalidField(message, "x" + message));
  // In base64, beside the message: below the 8 KiB that clients take.
  EXPECT_LT(status.error_details().size() * 4 / 3 + 3 * status.error_message().size(), 8192u);
  // A cut character would leave an odd number of bytes before the ellipsis.
  EXPECT_EQ((status.error_message().size() - std::string("x…").size()) % 2, 0u);
}

}  // namespace
}  // namespace softsplice
