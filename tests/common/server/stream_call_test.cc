// The reactor under all methods, with a server and clients in this process: the methods of the
// health service's descriptor, served as the tests say.
#include "common/server/stream_call.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <condition_variable>
#include <thread>

#include "absl/time/clock.h"
#include "common/server/call_service.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/support/event.h"

namespace softsplice {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class WatchCall;

// What the calls of a test do, and what became of them.
struct Script {
  std::function<void(const HealthCheckRequest&)> begin = [](const HealthCheckRequest&) {};
  int messages = 0;  // of a stream, before it ends; -1: without end
  std::atomic<bool> waits = false;
  bool ends = true;

  std::mutex mutex;
  std::condition_variable changed;
  int stopped = 0;
  int began = 0;
  std::string host;                 // of a stream that began
  std::weak_ptr<WatchCall> stream;  // the last that began

  bool WaitFor(int Script::*count, int value) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(30), [&] { return this->*count >= value; });
  }
  void Add(int Script::*count) {
    const std::lock_guard lock(mutex);
    ++(this->*count);
    changed.notify_all();
  }
};

class CheckCall final : public AnswerCall<HealthCheckRequest, HealthCheckResponse> {
 public:
  CheckCall(Call call, const Calls& calls, Script& script)
      : AnswerCall(std::move(call), calls, CallWeight::kLight), script_(script) {}

 private:
  void Begin(const HealthCheckRequest& request) override {
    script_.begin(request);
    HealthCheckResponse response;
    response.set_status(HealthCheckResponse::SERVING);
    Answer(response);
  }

  Script& script_;
};

class WatchCall final : public StreamCall<HealthCheckRequest, HealthCheckResponse> {
 public:
  WatchCall(Call call, const Calls& calls, Script& script)
      : StreamCall(std::move(call), calls, CallWeight::kHeavy), script_(script) {}

  // It no longer waits: here is its first message.
  void Bring() {
    std::unique_lock lock(mutex_);
    if (ended()) return;
    Working();
    left_ = 1;
    GoOn(std::move(lock));
  }

 private:
  void Begin(const HealthCheckRequest& request) override {
    script_.begin(request);
    script_.host = call().caller().host;
    script_.stream = std::static_pointer_cast<WatchCall>(shared_from_this());
    std::unique_lock lock(mutex_);
    left_ = script_.messages;
    if (!script_.waits) Working();
    script_.Add(&Script::began);
    if (script_.ends && left_ >= 0) return End(absl::OkStatus(), std::move(lock));
    GoOn(std::move(lock));
  }
  bool Next(HealthCheckResponse* message) override {
    if (left_ == 0) return false;
    if (left_ > 0) --left_;
    message->set_status(HealthCheckResponse::SERVING);
    // Large enough to fill a stream's window when nobody reads.
    message->GetReflection()->MutableUnknownFields(message)->AddLengthDelimited(
        100, std::string(1 << 20, 'x'));
    return true;
  }
  void Stop() override { script_.Add(&Script::stopped); }

  Script& script_;
  int left_ = 0;
};

class TestService final : public CallService {
 public:
  TestService(const Calls& calls, Script& script)
      : CallService(HealthCheckRequest::descriptor()->file()->service(0), calls) {
    Serve<CheckCall>("Check", script);
    Serve<WatchCall>("Watch", script);
  }
};

class StreamCallTest : public testing::Test {
 protected:
  void Start(const BorderOptions& options) {
    border_ = std::make_unique<Border>(options);
    service_ =
        std::make_unique<TestService>(Calls{logger_, *border_, workers_, call_metrics_}, script_);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("localhost:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    channel_ =
        grpc::CreateChannel(absl::StrCat("localhost:", port), grpc::InsecureChannelCredentials());
    stub_ = grpc::health::v1::Health::NewStub(channel_);
  }
  ~StreamCallTest() override {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  absl::Status Check(grpc::ClientContext* context, const HealthCheckRequest& request = {}) {
    HealthCheckResponse response;
    return FromGrpcStatus(stub_->Check(context, request, &response));
  }
  absl::Status Check(const HealthCheckRequest& request = {}) {
    grpc::ClientContext context;
    return Check(&context, request);
  }
  static std::string Metadata(const std::multimap<grpc::string_ref, grpc::string_ref>& from,
                              const char* name) {
    const auto found = from.find(name);
    return found == from.end() ? "" : std::string(found->second.data(), found->second.size());
  }
  // Whether all calls ended and gave back what they held.
  bool Idle() {
    for (int i = 0; i < 3000 && (border_->live_calls() > 0 || border_->live_bytes() > 0); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    return border_->live_calls() == 0 && border_->live_bytes() == 0;
  }

  const Logger logger_{LogFormat::kText, LogLevel::kError};
  Script script_;
  Metrics metrics_;
  const CallMetrics call_metrics_{metrics_, *HealthCheckRequest::descriptor()->file()->service(0)};
  Workers workers_{1};
  std::unique_ptr<Border> border_;
  std::unique_ptr<TestService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<grpc::health::v1::Health::Stub> stub_;
};

TEST_F(StreamCallTest, AnswersOneMessage) {
  Start({});
  grpc::ClientContext context;
  context.AddMetadata(kRequestIdHeader, "mine");
  EXPECT_TRUE(Check(&context).ok());
  EXPECT_EQ(Metadata(context.GetServerInitialMetadata(), kRequestIdHeader), "mine");
  EXPECT_TRUE(Idle());
}

TEST_F(StreamCallTest, StreamsAllMessagesBeforeItsEnd) {
  script_.messages = 20;
  Start({});
  grpc::ClientContext context;
  auto reader = stub_->Watch(&context, {});
  HealthCheckResponse message;
  int count = 0;
  while (reader->Read(&message)) ++count;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(count, 20);
  EXPECT_TRUE(Idle());
}

// gRPC counts a call with initial metadata as taken: its retry policy would not repeat it.
TEST_F(StreamCallTest, RefusesWithTrailersOnlyAndTellsWhenToTryAgain) {
  Start({.max_calls = -64});
  grpc::ClientContext context;
  const absl::Status status = Check(&context);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status).reason, "SERVER_BUSY");
  EXPECT_EQ(Metadata(context.GetServerInitialMetadata(), kRequestIdHeader), "");
  EXPECT_NE(Metadata(context.GetServerTrailingMetadata(), kRequestIdHeader), "");
  EXPECT_EQ(Metadata(context.GetServerTrailingMetadata(), kPushbackHeader), "1000");
}

TEST_F(StreamCallTest, TellsNotToTryAgainWhatCannotSucceed) {
  Start({});
  HealthCheckRequest request;
  auto* unknown = request.GetReflection()->MutableUnknownFields(&request);
  for (uint64_t i = 0; i <= kMaxRequestValues; ++i) unknown->AddVarint(7, 0);
  grpc::ClientContext context;
  const absl::Status status = Check(&context, request);
  EXPECT_EQ(GetErrorDetail(status).reason, "OVER_LIMIT");
  EXPECT_EQ(Metadata(context.GetServerTrailingMetadata(), kPushbackHeader), "-1");
  EXPECT_TRUE(Idle());
}

TEST_F(StreamCallTest, RefusesWhatIsNoMessage) {
  Start({});
  grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                   grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::Slice slice("\xff\xff\xff");
  grpc::ByteBuffer bytes(&slice, 1), answer;
  grpc::ClientContext context;
  const absl::Status status =
      FromGrpcStatus(grpc::internal::BlockingUnaryCallImpl<grpc::ByteBuffer, grpc::ByteBuffer>(
                         channel_.get(), method, &context, bytes, &answer)
                         .status());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetail(status).reason, "MALFORMED_REQUEST");
}

TEST_F(StreamCallTest, AnExceptionEndsTheCall) {
  script_.begin = [](const HealthCheckRequest&) { throw std::length_error("too long"); };
  Start({});
  EXPECT_EQ(GetErrorDetail(Check()).reason, "INTERNAL");
  script_.begin = [](const HealthCheckRequest&) { throw std::bad_alloc(); };
  EXPECT_EQ(GetErrorDetail(Check()).reason, "OUT_OF_MEMORY");
  EXPECT_TRUE(Idle());
}

TEST_F(StreamCallTest, AnUploadThatNeverEndsIsEnded) {
  Start({.upload_limit = absl::Milliseconds(100)});
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  // A stream both ways whose message never comes.
  grpc::internal::RpcMethod method("/grpc.health.v1.Health/Watch",
                                   grpc::internal::RpcMethod::BIDI_STREAMING);
  std::unique_ptr<grpc::ClientReaderWriter<HealthCheckRequest, HealthCheckResponse>> stream(
      grpc::internal::ClientReaderWriterFactory<HealthCheckRequest, HealthCheckResponse>::Create(
          channel_.get(), method, &context));
  const absl::Status status = FromGrpcStatus(stream->Finish());
  EXPECT_EQ(GetErrorDetail(status).reason, "CLIENT_TOO_SLOW");
  EXPECT_TRUE(Idle());
}

TEST_F(StreamCallTest, AClientThatDoesNotReadIsLeft) {
  script_.messages = -1;
  Start({.read_limit = absl::Milliseconds(100)});
  grpc::ClientContext context;
  auto reader = stub_->Watch(&context, {});
  EXPECT_TRUE(script_.WaitFor(&Script::stopped, 1));
  EXPECT_TRUE(Idle());
  context.TryCancel();
  reader->Finish();
}

// With all that there is by then.
TEST_F(StreamCallTest, ACallWithoutADeadlineEndsAtTheServicesOwn) {
  script_.messages = 3;
  script_.ends = false;
  Start({.call_limit = absl::Milliseconds(200)});
  grpc::ClientContext context;
  auto reader = stub_->Watch(&context, {});
  HealthCheckResponse message;
  int messages = 0;
  while (reader->Read(&message)) ++messages;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(messages, 3);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("more than 200ms"));
  EXPECT_TRUE(script_.WaitFor(&Script::stopped, 1));
  EXPECT_TRUE(Idle());
}

TEST_F(StreamCallTest, AClientThatIsGoneStopsTheWork) {
  script_.ends = false;
  Start({});
  grpc::ClientContext context;
  auto reader = stub_->Watch(&context, {});
  EXPECT_TRUE(script_.WaitFor(&Script::began, 1));
  context.TryCancel();
  EXPECT_TRUE(script_.WaitFor(&Script::stopped, 1));
  EXPECT_TRUE(Idle());
  reader->Finish();
}

// gRPC's context is gone by then.
TEST_F(StreamCallTest, ACallWhoseWorkOutlivesItKnowsItsHost) {
  Event entered;
  script_.begin = [&](const HealthCheckRequest&) {
    entered.Notify();
    while (border_->live_calls() > 0) absl::SleepFor(absl::Milliseconds(1));
  };
  Start({});
  grpc::ClientContext context;
  auto reader = stub_->Watch(&context, {});
  entered.WaitForNotification();
  context.TryCancel();
  reader->Finish();
  ASSERT_TRUE(script_.WaitFor(&Script::began, 1));
  EXPECT_THAT(script_.host, testing::AnyOf("127.0.0.1", "%5B::1%5D"));
  EXPECT_TRUE(Idle());
}

TEST_F(StreamCallTest, ADrainEndsWhatWaitsAtOnceAndWhatRunsAtItsDeadline) {
  script_.ends = false;
  Start({});
  grpc::ClientContext runs, waits;
  auto running = stub_->Watch(&runs, {});
  ASSERT_TRUE(script_.WaitFor(&Script::began, 1));
  script_.waits = true;
  auto waiting = stub_->Watch(&waits, {});
  ASSERT_TRUE(script_.WaitFor(&Script::began, 2));

  border_->Drain();
  EXPECT_EQ(GetErrorDetail(FromGrpcStatus(waiting->Finish())).reason, "DRAINING");
  EXPECT_EQ(GetErrorDetail(Check()).reason, "DRAINING");
  EXPECT_FALSE(border_->WaitIdle(absl::Milliseconds(100)));
  border_->EndAll();
  EXPECT_EQ(GetErrorDetail(FromGrpcStatus(running->Finish())).reason, "DRAIN_DEADLINE");
  EXPECT_TRUE(border_->WaitIdle(absl::Seconds(30)));
}

// Whichever comes first: a client that saw a message would not ask again, as the error tells it to.
TEST_F(StreamCallTest, ADrainEndsNoCallWhoseFirstMessageCameMeanwhile) {
  script_.ends = false;
  script_.waits = true;
  Start({});
  for (int i = 1; i <= 1000; ++i) {
    grpc::ClientContext context;
    auto reader = stub_->Watch(&context, {});
    ASSERT_TRUE(script_.WaitFor(&Script::began, i));
    const std::shared_ptr<WatchCall> call = script_.stream.lock();
    std::barrier together(2);
    std::thread drain([&] {
      together.arrive_and_wait();
      call->OnDrain();
    });
    together.arrive_and_wait();
    call->Bring();
    drain.join();
    HealthCheckResponse message;
    const bool came = reader->Read(&message);
    if (came) call->OnDrainDeadline();
    EXPECT_EQ(GetErrorDetail(FromGrpcStatus(reader->Finish())).reason,
              came ? "DRAIN_DEADLINE" : "DRAINING");
  }
  EXPECT_TRUE(Idle());
}

TEST_F(StreamCallTest, ACallThatRunsIsAnnouncedBeforeItsFirstMessage) {
  script_.ends = false;
  Start({});
  grpc::ClientContext context;
  auto reader = stub_->Watch(&context, {});
  reader->WaitForInitialMetadata();
  EXPECT_NE(Metadata(context.GetServerInitialMetadata(), kRequestIdHeader), "");
  context.TryCancel();
  reader->Finish();
}

TEST_F(StreamCallTest, BytesOverTheBudgetAreRefused) {
  script_.ends = false;
  Start({.max_bytes = 3 << 20});
  HealthCheckRequest request;
  request.set_service(std::string(1 << 20, 'x'));
  grpc::ClientContext first;
  auto holds = stub_->Watch(&first, request);
  ASSERT_TRUE(script_.WaitFor(&Script::began, 1));
  EXPECT_GE(border_->live_bytes(), 1u << 20);
  request.set_service(std::string(2 << 20, 'x'));
  EXPECT_EQ(GetErrorDetail(Check(request)).reason, "SERVER_BUSY");
  first.TryCancel();
  holds->Finish();
  EXPECT_TRUE(Idle());
}

}  // namespace
}  // namespace softsplice
