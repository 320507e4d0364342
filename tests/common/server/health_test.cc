#include "common/server/health.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <mutex>
#include <vector>

#include "common/status/reasons.h"
#include "tests/common/server/client.h"

namespace softsplice {
namespace {

using grpc::health::v1::HealthCheckRequest;

TEST(Health, LivenessIsNotReadiness) {
  BareServer bare;
  EXPECT_EQ(bare.Check(""), HealthStatus::SERVING);
  EXPECT_EQ(bare.Check(kLivenessName), HealthStatus::SERVING);
  bare.server().health().SetServing(false);
  EXPECT_EQ(bare.Check(""), HealthStatus::NOT_SERVING);
  EXPECT_EQ(bare.Check(kLivenessName), HealthStatus::SERVING);
  bare.server().health().SetAlive(false);
  EXPECT_EQ(bare.Check(kLivenessName), HealthStatus::NOT_SERVING);
  absl::Status error;
  bare.Check("no.such.Service", &error);
  EXPECT_EQ(error.code(), absl::StatusCode::kNotFound);
}

TEST(Health, RefusesWhatIsCompressedOrLarge) {
  BareServer bare;
  absl::Status error;
  for (const auto compression : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    bare.Check(std::string(1 << 20, 'x'), &error, compression);
    EXPECT_EQ(error.code(), absl::StatusCode::kUnimplemented);
    EXPECT_EQ(GetErrorDetail(error).reason, reason::kCompressedRequest);
  }
  bare.Check(std::string(1 << 20, 'x'), &error);
  EXPECT_EQ(error.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(error).reason, reason::kOverLimit);
}

TEST(Health, WatchesLearnOfChangesAndEndInADrain) {
  BareServer bare;
  grpc::ClientContext context;
  HealthCheckRequest request;
  HealthStatus response;
  const auto watch = bare.stub().Watch(&context, request);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthStatus::SERVING);
  bare.server().health().SetServing(false);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthStatus::NOT_SERVING);
  bare.server().health().SetServing(true);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthStatus::SERVING);
  bare.server().Drain(absl::Minutes(10));
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthStatus::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&response));
  const absl::Status end = FromGrpcStatus(watch->Finish());
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorDetail(end).reason, reason::kDraining);
}

TEST(Health, TakesABoundedNumberOfWatches) {
  BareServer bare;
  const HealthCheckRequest request;
  HealthStatus response;
  std::list<grpc::ClientContext> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<HealthStatus>>> watches;
  for (int i = 0; i < 128; ++i) {
    watches.push_back(bare.stub().Watch(&contexts.emplace_back(), request));
    ASSERT_TRUE(watches.back()->Read(&response)) << i;
  }
  watches.push_back(bare.stub().Watch(&contexts.emplace_back(), request));
  EXPECT_FALSE(watches.back()->Read(&response));
  EXPECT_EQ(GetErrorDetail(FromGrpcStatus(watches.back()->Finish())).reason, reason::kServerBusy);
  EXPECT_EQ(bare.Check(""), HealthStatus::SERVING);
  for (grpc::ClientContext& context : contexts) context.TryCancel();
  for (const auto& watch : watches) {
    while (watch->Read(&response)) {
    }
  }
}

// Calls that never send their request.
class Mute : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Mute(grpc::GenericStub* stub) {
    stub->PrepareBidiStreamingCall(&context_, "/grpc.health.v1.Health/Check", {}, this);
    StartCall();
    StartRead(&answer_);
  }
  void OnDone(const grpc::Status& status) override {
    const std::lock_guard lock(mutex_);
    end_ = FromGrpcStatus(status);
    done_ = true;
  }
  void Cancel() { context_.TryCancel(); }
  bool done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  // Once it is done.
  const absl::Status& end() const { return end_; }

 private:
  grpc::ClientContext context_;
  grpc::ByteBuffer answer_;
  std::mutex mutex_;
  bool done_ = false;
  absl::Status end_;
};

TEST(Health, AnswersHoweverManyCallsSendNothing) {
  BareServer bare;
  grpc::GenericStub stub(bare.channel());
  std::list<Mute> mutes;
  for (int i = 0; i < 200; ++i) {
    mutes.emplace_back(&stub);
    EXPECT_EQ(bare.Check(""), HealthStatus::SERVING);
  }
  // The first gave way to those that came later.
  const auto done = [&] {
    return std::count_if(mutes.begin(), mutes.end(), [](Mute& mute) { return mute.done(); });
  };
  EXPECT_TRUE(Eventually([&] { return done() >= 100; }));
  for (Mute& mute : mutes) {
    if (mute.done()) {
      EXPECT_EQ(GetErrorDetail(mute.end()).reason, reason::kClientTooSlow);
    }
    mute.Cancel();
  }
  EXPECT_TRUE(Eventually([&] { return done() == 200; }));
}

}  // namespace
}  // namespace softsplice
