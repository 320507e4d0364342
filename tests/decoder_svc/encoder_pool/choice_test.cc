// Which encoder the pool takes, when it takes another, and who waits.
#include <gmock/gmock.h>

#include <numeric>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "tests/decoder_svc/encoder_pool/pool_fixture.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

// Both encoders wait for it in every call.
class Gate {
 public:
  void Hold(FakeEncoderService* encoder) {
    encoder->encode = [this, encoder](grpc::ServerContext* context,
                                      const v1::EncodeImageRequest* request, Writer* writer) {
      seen_.push_back(request->mime_type());
      while (!open_ && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
      return encoder->Good(*request, writer);
    };
  }
  void Open() { open_ = true; }
  // In the order in which they came; only for one encoder with room for one.
  const std::vector<std::string>& seen() const { return seen_; }

 private:
  std::atomic<bool> open_ = false;
  std::vector<std::string> seen_;
};

TEST_F(Pair, TakesTheLeastBusy) {
  std::atomic<bool> go = false;
  for (FakeEncoderService* encoder : {&encoder_, &other_}) {
    encoder->encode = [&go, encoder](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                                     Writer* writer) {
      while (!go) absl::SleepFor(absl::Milliseconds(2));
      return encoder->Good(*request, writer);
    };
  }
  const auto pool = MakePool({address_, other_address_});
  std::vector<Pending> pending;
  for (int i = 0; i < 6; ++i) pending.push_back(Start(*pool));
  EXPECT_EQ(pool->targets()[0].in_flight, 3);
  EXPECT_EQ(pool->targets()[1].in_flight, 3);
  go = true;
  for (Pending& one : pending) EXPECT_TRUE(one.result.get().ok());
}

TEST_F(Pair, SeesWhatOtherDecodersAskOf) {
  encoder_.load.set_queued(20);
  const auto pool = MakePool({address_, other_address_});
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(Encode(*pool).ok());
  EXPECT_EQ(encoder_.calls, 0);
  EXPECT_EQ(other_.calls, 6);
}

TEST_F(Pair, TakesAnotherAfterADeathMidStream) {
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer* writer) {
    writer->Write(encoder_.Header());
    writer->Write(encoder_.Rows(0, 2));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  };
  const auto pool = MakePool({address_, other_address_});
  for (int i = 0; i < 4; ++i) {
    int headers = 0;
    EncodeJob job{.data = "picture", .on_header = [&](const v1::SoftTokensHeader&) {
                    ++headers;
                    return absl::OkStatus();
                  }};
    const auto medium = Start(*pool, std::move(job)).result.get();
    ASSERT_TRUE(medium.ok()) << medium.status();
    EXPECT_EQ(medium->runs.at(0).values->size(), 20u);
    EXPECT_EQ(headers, 1);
  }
  EXPECT_GE(encoder_.calls, 1);
  EXPECT_EQ(other_.calls, 4);
}

// Every way to fail at once, beside an encoder that takes its time.
TEST_F(Pair, ABrokenEncoderAttractsNothing) {
  other_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request, Writer* writer) {
    absl::SleepFor(absl::Milliseconds(5));
    return other_.Good(*request, writer);
  };
  const auto full = MakeError(absl::StatusCode::kResourceExhausted, "full",
                              {.reason = "QUEUE_FULL", .retry_after = absl::Seconds(30)});
  const std::vector<grpc::Status> failures = {
      grpc::Status(grpc::StatusCode::INTERNAL, "oops"),
      ToGrpcStatus(full),
      grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "message larger than max"),
      grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no such method"),
      ToGrpcStatus(MakeError(absl::StatusCode::kUnavailable, "stopping", {.reason = "DRAINING"})),
      grpc::Status::OK,  // without a word: a broken answer
  };
  for (const grpc::Status& failure : failures) {
    encoder_.calls = 0;
    encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*) {
      return failure;
    };
    const auto pool = MakePool({address_, other_address_});
    std::vector<Pending> pending;
    for (int i = 0; i < 40; ++i) pending.push_back(Start(*pool));
    for (Pending& one : pending) {
      const auto medium = one.result.get();
      EXPECT_TRUE(medium.ok()) << failure.error_code() << ": " << medium.status();
    }
    EXPECT_LE(encoder_.calls, 20) << failure.error_code();
    EXPECT_NE(pool->targets()[0].state, v1::ENCODER_STATE_HEALTHY);
    EXPECT_NE(pool->targets()[0].reason, "");
  }
}

TEST_F(Pair, TakesNoOtherForWhatTheMediumIsAtFaultFor) {
  const std::vector<absl::Status> faults = {
      MakeError(absl::StatusCode::kInvalidArgument, "no", {.reason = "INVALID_MEDIA"}),
      MakeError(absl::StatusCode::kResourceExhausted, "large", {.reason = "OVER_LIMIT"}),
      MakeError(absl::StatusCode::kOutOfRange, "long", {.reason = "PROMPT_TOO_LONG"}),
  };
  for (const absl::Status& fault : faults) {
    encoder_.calls = other_.calls = 0;
    for (FakeEncoderService* encoder : {&encoder_, &other_}) {
      encoder->encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*) {
        return ToGrpcStatus(fault);
      };
    }
    const auto pool = MakePool({address_, other_address_});
    EXPECT_EQ(Encode(*pool).status(), fault);
    EXPECT_EQ(encoder_.calls + other_.calls, 1);
    EXPECT_TRUE(IsHealthy(*pool, 0) && IsHealthy(*pool, 1));
  }
}

TEST_F(Pair, GivesUpAMediumThatFailsEverywhere) {
  for (FakeEncoderService* encoder : {&encoder_, &other_}) {
    encoder->encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*) {
      return grpc::Status(grpc::StatusCode::INTERNAL, "oops");
    };
  }
  const auto pool = MakePool({address_, other_address_});
  const absl::Status status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(GetErrorDetail(status).reason, "ENCODER_FAILED");
  EXPECT_EQ(encoder_.calls, 1);
  EXPECT_EQ(other_.calls, 1);
  // Failing, they are all there is: what is sound is still encoded.
  for (FakeEncoderService* encoder : {&encoder_, &other_}) {
    encoder->encode = [encoder](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                                Writer* writer) { return encoder->Good(*request, writer); };
  }
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(Encode(*pool).ok());
}

TEST_F(Pair, RefusesOtherRowCountsOfASecondEncoder) {
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer* writer) {
    writer->Write(encoder_.Header());
    return grpc::Status(grpc::StatusCode::INTERNAL, "oops");
  };
  other_.rows = 6;
  other_.load.set_queued(1);
  const auto pool = MakePool({address_, other_address_});
  const absl::Status status = Encode(*pool).status();
  EXPECT_EQ(GetErrorDetail(status).reason, "BAD_ENCODER_ANSWER") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("6 rows where another encoder had 5"));
}

TEST_F(Pool, AnErrorAfterAllRowsIsAnError) {
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                        Writer* writer) {
    encoder_.Good(*request, writer);
    return grpc::Status(grpc::StatusCode::INTERNAL, "oops");
  };
  const auto pool = MakePool({address_});
  EXPECT_EQ(Encode(*pool).status().code(), absl::StatusCode::kInternal);
}

TEST_F(Pool, MediaWaitForAnEncoderThatIsFull) {
  std::atomic<int> refusals = 3;
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                        Writer* writer) {
    if (--refusals >= 0) {
      return ToGrpcStatus(
          MakeError(absl::StatusCode::kResourceExhausted, "the queue is full",
                    {.reason = "QUEUE_FULL", .retry_after = absl::Milliseconds(100)}));
    }
    return encoder_.Good(*request, writer);
  };
  const auto pool = MakePool({address_});
  std::vector<Pending> pending;
  for (int i = 0; i < 12; ++i) pending.push_back(Start(*pool));
  for (Pending& one : pending) EXPECT_TRUE(one.result.get().ok());
  EXPECT_LT(refusals, 0);
}

TEST_F(Pool, AnEncoderGetsNoMoreThanItTakes) {
  Gate gate;
  gate.Hold(&encoder_);
  encoder_.max_queue = 1;
  const auto pool = MakePool({address_});
  std::vector<Pending> pending;
  // A request of many media, one of one behind it.
  int many = 0;
  int one = 0;
  for (const char* type : {"a", "a", "a", "a", "b"}) {
    pending.push_back(
        Start(*pool, {.data = "x", .mime_type = type, .request = *type == 'a' ? &many : &one}));
  }
  EXPECT_TRUE(Eventually([&] { return encoder_.calls == 1; }));
  EXPECT_EQ(pool->targets()[0].in_flight, 1);
  gate.Open();
  for (Pending& medium : pending) EXPECT_TRUE(medium.result.get().ok());
  EXPECT_THAT(gate.seen(), testing::ElementsAre("a", "a", "b", "a", "a"));
}

TEST_F(Pool, WaitingDoesNotCountAgainstTheEncodeLimit) {
  encoder_.max_queue = 1;
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                        Writer* writer) {
    absl::SleepFor(absl::Milliseconds(200));
    return encoder_.Good(*request, writer);
  };
  const auto pool = MakePool({address_}, {.encode_limit = absl::Seconds(2)});
  std::vector<Pending> pending;
  for (int i = 0; i < 15; ++i) pending.push_back(Start(*pool));
  for (Pending& one : pending) {
    const auto medium = one.result.get();
    EXPECT_TRUE(medium.ok()) << medium.status();
  }
}

TEST_F(Pool, RefusesWhatCanNotBeServedInTime) {
  Gate gate;
  gate.Hold(&encoder_);
  encoder_.max_queue = 1;
  const auto pool = MakePool({address_}, {.encode_limit = absl::Seconds(20), .max_waiting = 2});
  std::vector<Pending> pending;
  for (int i = 0; i < 3; ++i) pending.push_back(Start(*pool));
  // One is encoded, two wait.
  absl::Status status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status).reason, "QUEUE_FULL");
  EXPECT_GE(GetErrorDetail(status).retry_after, absl::Seconds(1));
  // A place in the line does not outlast the caller.
  pending[2].call->Cancel();
  EXPECT_EQ(pending[2].result.get().status().code(), absl::StatusCode::kCancelled);
  status = Start(*pool, {.data = "x", .deadline = SteadyNow() + absl::Milliseconds(100)})
               .result.get()
               .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(GetErrorDetail(status).reason, "DEADLINE_EXCEEDED");
  EXPECT_EQ(encoder_.calls, 1);
  gate.Open();
  EXPECT_TRUE(pending[0].result.get().ok());
  EXPECT_TRUE(pending[1].result.get().ok());
}

TEST_F(Pool, DoesNotWaitInVainForAnEncoderThatIsFull) {
  encoder_.encode = [](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*) {
    return ToGrpcStatus(MakeError(absl::StatusCode::kResourceExhausted, "the queue is full",
                                  {.reason = "QUEUE_FULL", .retry_after = absl::Minutes(10)}));
  };
  const auto pool = MakePool({address_});
  const EncodeJob job{.data = "x", .deadline = SteadyNow() + absl::Seconds(4)};
  const absl::Status status = Start(*pool, job).result.get().status();
  EXPECT_LT(SteadyNow(), job.deadline);
  EXPECT_EQ(GetErrorDetail(status).reason, "QUEUE_FULL") << status;
  EXPECT_GT(GetErrorDetail(status).retry_after, absl::Seconds(3));
  EXPECT_EQ(pool->targets()[0].state, v1::ENCODER_STATE_FULL);
}

TEST_F(Pool, OurOwnLimitOnWaitingSaysSo) {
  Gate gate;
  gate.Hold(&encoder_);
  encoder_.max_queue = 1;
  const auto pool = MakePool(
      {address_}, {.encode_limit = absl::Seconds(20), .wait_limit = absl::Milliseconds(100)});
  Pending first = Start(*pool);
  EXPECT_EQ(GetErrorDetail(Encode(*pool).status()).reason, "QUEUE_FULL");
  gate.Open();
  EXPECT_TRUE(first.result.get().ok());
}

TEST_F(Pair, LeavesAnEncoderThatDoesNotAnswer) {
  // As one that is stopped: it takes the calls, and that is all.
  std::atomic<bool> silent = false;
  encoder_.before_info = [&](grpc::ServerContext* context) {
    while (silent && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
  };
  encoder_.encode = [&](grpc::ServerContext* context, const v1::EncodeImageRequest*, Writer*) {
    silent = true;
    return UntilCancelled(context);
  };
  other_.load.set_queued(1);
  const auto pool = MakePool({address_, other_address_}, {.encode_limit = absl::Minutes(10)});
  const auto medium = Encode(*pool);
  EXPECT_TRUE(medium.ok()) << medium.status();
  EXPECT_EQ(encoder_.calls, 1);
  EXPECT_EQ(other_.calls, 1);
  EXPECT_EQ(pool->targets()[0].state, v1::ENCODER_STATE_AWAY);
  silent = false;
  EXPECT_TRUE(Eventually([&] { return IsHealthy(*pool); }));
}

TEST_F(Pair, LeavesOutWhoSaysThatItDoesNotServe) {
  server_.SetServing(false);
  const auto pool = MakePool({address_, other_address_});
  EXPECT_EQ(pool->targets()[0].state, v1::ENCODER_STATE_AWAY);
  EXPECT_THAT(pool->targets()[0].reason, HasSubstr("does not serve"));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Encode(*pool).ok());
  EXPECT_EQ(encoder_.calls, 0);
  server_.SetServing(true);
  EXPECT_TRUE(Eventually([&] { return IsHealthy(*pool); }));
}

TEST_F(Pair, DoesNotMixEncodersOfDifferentModels) {
  other_.fingerprint = std::string(32, 'o');
  other_server_.Stop();
  const auto pool = MakePool({address_, other_address_});
  FakeEncoderServer other_server(other_address_, &other_);
  EXPECT_TRUE(Eventually([&] { return pool->targets()[1].state == v1::ENCODER_STATE_FOREIGN; }));
  EXPECT_THAT(pool->targets()[1].reason, HasSubstr(absl::BytesToHexString(other_.fingerprint)));
  EXPECT_EQ(pool->targets()[1].fingerprint, other_.fingerprint);
  // The right one is away for a moment: the other must not take over.
  server_.Stop();
  EXPECT_EQ(Encode(*pool).status().code(), absl::StatusCode::kUnavailable);
  FakeEncoderServer back(address_, &encoder_);
  EXPECT_TRUE(Eventually([&] { return IsHealthy(*pool); }));
  EXPECT_EQ(pool->fingerprint(), encoder_.fingerprint);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Encode(*pool).ok());
  EXPECT_EQ(other_.calls, 0);
}

TEST_F(Pair, APinnedModelIsTheOnlyOne) {
  other_.fingerprint = std::string(32, 'o');
  const auto pool = MakePool({address_, other_address_}, {.fingerprint = other_.fingerprint});
  EXPECT_EQ(pool->fingerprint(), other_.fingerprint);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Encode(*pool).ok());
  EXPECT_EQ(encoder_.calls, 0);
  EXPECT_EQ(pool->targets()[0].state, v1::ENCODER_STATE_FOREIGN);
}

TEST_F(Pool, FollowsAnEncoderThatIsReplacedByAnotherModel) {
  const auto pool = MakePool({address_});
  ASSERT_TRUE(Encode(*pool).ok());
  server_.Stop();
  encoder_.fingerprint = std::string(32, 'n');
  FakeEncoderServer back(address_, &encoder_);
  EXPECT_TRUE(Eventually([&] { return pool->fingerprint() == encoder_.fingerprint; }));
  EXPECT_TRUE(Encode(*pool).ok());
}

TEST(EncoderPool, SaysThatANameCanNotBeResolved) {
  const auto pool = MakePool({"no-such-host.invalid:50051"});
  ASSERT_EQ(pool->targets().size(), 1u);
  EXPECT_EQ(pool->targets()[0].name, "no-such-host.invalid:50051");
  EXPECT_EQ(pool->targets()[0].state, v1::ENCODER_STATE_AWAY);
  const absl::Status status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorDetail(status).reason, "ENCODER_UNAVAILABLE");
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such-host.invalid can't be resolved"));
}

TEST(EncoderPool, FindsAnEncoderByItsHostName) {
  FakeEncoderService encoder;
  FakeEncoderServer server("127.0.0.1:0", &encoder);
  const std::string name = absl::StrCat("localhost:", server.port());
  const auto pool = MakePool({name});
  EXPECT_TRUE(Encode(*pool).ok());
  ASSERT_EQ(pool->targets().size(), 1u);
  EXPECT_EQ(pool->targets()[0].name, name);
  EXPECT_EQ(pool->targets()[0].address, absl::StrCat("127.0.0.1:", server.port()));
  EXPECT_EQ(encoder.authority, name);
}

TEST(EncoderPool, LosesNothingWhenConnectionsEndByAge) {
  FakeEncoderService encoder;
  const std::string address = TestAddress("aging");
  FakeEncoderServer server(address, &encoder, std::chrono::milliseconds(20));
  const auto pool = MakePool({address});
  for (int i = 0; i < 1000; ++i) {
    const auto medium = Encode(*pool);
    ASSERT_TRUE(medium.ok()) << i << ": " << medium.status();
  }
}

TEST(EncoderPool, TakesIpv6Addresses) {
  FakeEncoderService encoder;
  FakeEncoderServer server("[::1]:0", &encoder);
  if (server.port() == 0) GTEST_SKIP() << "no IPv6 here";
  const auto pool = MakePool({absl::StrCat("[::1]:", server.port())});
  EXPECT_TRUE(Encode(*pool).ok());
}

}  // namespace
}  // namespace softsplice
