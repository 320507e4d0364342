// What the contract promises of refusals, progress and seeds, and of clients that go too far.
#include <grpcpp/generic/generic_stub.h>

#include <functional>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "common/server/call.h"
#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

using DecoderContract = DecoderService;

TEST_F(DecoderContract, TellsTheSeedThatWasDrawn) {
  engine_.script = {10};
  const Answer drawn = Generate(Hello());
  EXPECT_EQ(drawn.started().seed(), engine_.last().sampling.seed);
  EXPECT_NE(drawn.started().seed(), Generate(Hello()).started().seed());
  v1::GenerateRequest request = Hello();
  request.mutable_sampling()->set_seed(7);
  EXPECT_EQ(Generate(request).started().seed(), 7u);
}

TEST_F(DecoderContract, RefusesWhatItDoesNotServe) {
  engine_.script = {10};
  const auto refused = [&](const std::string& more, const std::string& field) {
    v1::GenerateRequest request = Hello();
    request.MergeFrom(Parse(more));
    ExpectError(request, absl::StatusCode::kUnimplemented, field);
  };
  refused("json_schema: '{}'", "json_schema");
  v1::GenerateRequest urgent = Hello();
  urgent.set_priority(static_cast<v1::Priority>(3));
  ExpectError(urgent, absl::StatusCode::kUnimplemented, "priority");
  refused("chat { tools { name: 'x' } }", "chat.tools");
  refused("chat { tool_choice { mode: TOOL_CHOICE_MODE_NONE } }", "chat.tool_choice");
  refused("chat { parallel_tool_calls: false }", "chat.parallel_tool_calls");
  refused("chat { messages { role: ROLE_MODEL parts { thought: 'x' } } }",
          "chat.messages[1].parts[0]");
  v1::GenerateRequest normal = Hello();
  normal.MergeFrom(Parse("priority: PRIORITY_NORMAL no_prefix_cache: true cache_salt: 'x'"));
  EXPECT_TRUE(Generate(normal).status.ok());
}

TEST_F(DecoderContract, HandsOverThePriority) {
  engine_.script = {10};
  v1::GenerateRequest request = Hello();
  for (const auto& [asked, told] : {std::pair(v1::PRIORITY_BATCH, Priority::kBatch),
                                    std::pair(v1::PRIORITY_NORMAL, Priority::kNormal),
                                    std::pair(v1::PRIORITY_UNSPECIFIED, Priority::kNormal)}) {
    request.set_priority(asked);
    EXPECT_TRUE(Generate(request).status.ok());
    EXPECT_EQ(engine_.last_priority(), told);
  }
}

// Three texts of 16 MiB stopped all RPCs for 14 s.
TEST_F(DecoderContract, RefusesATextThatCannotFitBeforeItIsTokenised) {
  engine_.script = {10};
  const std::string text(4 << 20, 'a');
  v1::GenerateRequest request = Hello();
  request.mutable_chat()->mutable_messages(0)->mutable_parts(0)->set_text(text);
  ExpectError(request, absl::StatusCode::kOutOfRange, "prompt", "4194304 bytes");
  v1::CountTokensRequest count;
  *count.mutable_chat() = request.chat();
  v1::CountTokensResponse response;
  EXPECT_EQ(Count(count, &response).code(), absl::StatusCode::kOutOfRange);

  v1::GenerateRequest parts = Hello();
  for (int i = 0; i < 100'000; ++i)
    parts.mutable_chat()->mutable_messages(0)->add_parts()->set_text("");
  ExpectError(parts, absl::StatusCode::kOutOfRange, "prompt", "100001 parts");

  v1::GenerateRequest ids;
  ids.mutable_raw()->add_parts()->mutable_token_ids()->mutable_ids()->Resize(100'000, 5);
  ExpectError(ids, absl::StatusCode::kOutOfRange, "prompt", "100000 token ids");
  *count.mutable_raw() = ids.raw();
  count.set_include_token_ids(true);
  EXPECT_EQ(Count(count, &response).code(), absl::StatusCode::kOutOfRange);
}

// 64 MiB of empty messages became 3.8 GB.
TEST_F(DecoderContract, RefusesRequestsThatWouldBecomeHuge) {
  engine_.script = {10};
  const uint64_t before = border_.live_bytes();
  constexpr int kMany = (1 << 20) + 1;
  v1::GenerateRequest stops = Hello(), biases = Hello(), tools = Hello(), parts, ids;
  for (int i = 0; i < kMany; ++i) {
    stops.add_stop();
    biases.mutable_sampling()->add_logit_bias();
    tools.mutable_chat()->add_tools();
    parts.mutable_raw()->add_parts();
  }
  ids.mutable_raw()->add_parts()->mutable_token_ids()->mutable_ids()->Resize(4 * kMany, 5);
  for (const v1::GenerateRequest& request : {stops, biases, tools, parts, ids}) {
    ExpectError(request, absl::StatusCode::kResourceExhausted, "", "1048576 values");
  }
  // The call gives them back when gRPC is done with it, a little after the client is.
  for (int i = 0; i < 3000 && border_.live_bytes() > before; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(border_.live_bytes(), before);
}

TEST_F(DecoderContract, RefusesMoreBiasesThanTheVocabularyHas) {
  engine_.script = {10};
  v1::GenerateRequest request = Hello();
  for (int i = 0; i <= tokenizer_.size(); ++i) request.mutable_sampling()->add_logit_bias();
  ExpectError(request, absl::StatusCode::kInvalidArgument, "sampling.logit_bias");
}

TEST_F(DecoderContract, APlaceIsGivenBackBeforeTheRefusalIsHeard) {
  engine_.give_back_takes = absl::Milliseconds(50);
  EXPECT_EQ(Generate({}).status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_.load().reserved, 0);
}

TEST_F(DecoderContract, CountsTextThatIsNotUtf8InWholeCharacters) {
  v1::CountTokensRequest request;
  // The byte token of 0xFF, as ids: no text that a client sends may hold it.
  const int32_t byte = tokenizer_.Find("<0xFF>");
  ASSERT_GE(byte, 0);
  request.mutable_raw()->add_parts()->mutable_token_ids()->add_ids(byte);
  request.set_include_rendered(true);
  v1::CountTokensResponse response;
  ASSERT_EQ(Count(request, &response), absl::OkStatus());
  EXPECT_EQ(response.rendered(), "<bos>\uFFFD");
}

TEST_F(DecoderContract, ARefusalHasTrailersOnly) {
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, {});
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_EQ(context.GetServerInitialMetadata().count(kRequestIdHeader), 0u);
  EXPECT_EQ(context.GetServerTrailingMetadata().count(kRequestIdHeader), 1u);
  EXPECT_EQ(context.GetServerTrailingMetadata().find(kPushbackHeader)->second, "-1");
}

class DecoderWithoutRoom : public DecoderContract {
 protected:
  // How a call ends for which there is no room from `full` on: when it has begun.
  absl::Status Refusal(const std::function<void(grpc::GenericClientAsyncReaderWriter&)>& full) {
    grpc::ClientContext context;
    grpc::GenericStub stub(channel_);
    const auto call = stub.PrepareCall(&context, "/softsplice.v1.DecoderService/Generate", &done_);
    call->StartCall(nullptr);
    Wait();
    full(*call);
    grpc::Status status;
    call->Finish(&status, nullptr);
    Wait();
    return FromGrpcStatus(status);
  }
  void Wait() {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(done_.Next(&tag, &ok));
  }

  const absl::Status full_ =
      MakeError(absl::StatusCode::kResourceExhausted, "full", {.reason = reason::kQueueFull});

 private:
  grpc::CompletionQueue done_;
};

// What it would upload may be large, and all of it in vain.
TEST_F(DecoderWithoutRoom, RefusesBeforeTheRequestIsSent) {
  engine_.room_error = full_;
  EXPECT_EQ(Refusal([](auto&) {}), full_);
}

TEST_F(DecoderWithoutRoom, RefusesWhatWasSentWhileOthersCameBeforeReadingIt) {
  const absl::Status refused = Refusal([&](auto& call) {
    engine_.reserve_error = full_;
    const std::string malformed = "no message";
    const grpc::Slice slice(malformed);
    call.WriteLast(grpc::ByteBuffer(&slice, 1), {}, nullptr);
    Wait();
  });
  EXPECT_EQ(refused, full_);
}

TEST_F(DecoderContract, TellsProgressWhileItsMediaAreEncoded) {
  engine_.script = {10};
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* r,
                        FakeEncoderService::Writer* writer) {
    absl::SleepFor(absl::Seconds(6));
    return encoder_.Good(*r, writer);
  };
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, WithPicture());
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  ASSERT_TRUE(message.has_progress());
  EXPECT_EQ(message.progress().stage(), v1::STAGE_ENCODING);
  EXPECT_EQ(message.progress().media(), 1u);
  while (reader->Read(&message)) continue;
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(DecoderContract, TellsThatItIsPaused) {
  Event go_on;
  engine_.script = {10, 11, 12};
  engine_.pause = &go_on;
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Hello());
  Answer answer;
  bool told = false;
  for (v1::GenerateResponse message; reader->Read(&message);) {
    answer.messages.push_back(message);
    if (!message.has_progress() || std::exchange(told, true)) continue;
    EXPECT_EQ(message.progress().stage(), v1::STAGE_QUEUED);
    go_on.Notify();
  }
  EXPECT_TRUE(told);
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(answer.tokens(), (std::vector<uint32_t>{10, 11, 12}));
}

// Clients that take no more than they read, of an answer whose tokens are about 360 bytes each on
// the wire, and some 2,000 in memory, where they are counted.
class SlowReader : public DecoderContract {
 protected:
  SlowReader() {
    request_.set_logprobs(20);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    stub_ = v1::DecoderService::NewStub(grpc::CreateCustomChannel(
        server_->address(), grpc::InsecureChannelCredentials(), arguments));
  }
  template <class Condition>
  void WaitFor(Condition condition) {
    while (!condition()) {
      // What the answer may hold and the token after, what is being written, and the request.
      EXPECT_LT(border_.live_bytes(), (1u << 20) + (256u << 10));
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  v1::GenerateRequest request_ = Hello();
  grpc::ClientContext client_;
};

TEST_F(SlowReader, IsHeldAndGoesOn) {
  for (int i = 0; i < 12'000; ++i) engine_.script.push_back(10 + i % 50);
  auto reader = stub_->Generate(&client_, request_);
  WaitFor([&] { return engine_.holds > 0; });
  Answer answer;
  uint64_t bytes = 0;
  for (v1::GenerateResponse message; reader->Read(&message);) {
    bytes += message.SpaceUsedLong();
    answer.messages.push_back(message);
  }
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(answer.tokens(), std::vector<uint32_t>(engine_.script.begin(), engine_.script.end()));
  EXPECT_EQ(answer.finished().usage().completion_tokens(), 12'000u);
  EXPECT_LT(answer.messages.size(), 10'000u) << "what waits is merged";
  // From one time to the next much has to be read.
  EXPECT_GT(bytes, 3u << 20);
  EXPECT_LE(engine_.holds, static_cast<int>(1 + bytes / (768 << 10)));
}

// It costs its memory until then.
TEST_F(SlowReader, IsLeftIfItReadsNothing) {
  engine_.script = {10};
  engine_.endless = true;
  engine_.max_hold = absl::Milliseconds(100);
  auto reader = stub_->Generate(&client_, request_);
  WaitFor([&] { return engine_.holds > 0 && engine_.load().running == 0; });
  v1::GenerateResponse message;
  while (reader->Read(&message)) continue;
  EXPECT_EQ(GetErrorDetail(FromGrpcStatus(reader->Finish())).reason, "CLIENT_TOO_SLOW");
}

}  // namespace
}  // namespace softsplice
