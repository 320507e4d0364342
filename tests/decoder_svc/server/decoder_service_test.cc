// What the decoder service answers, refuses and ends.
#include <atomic>
#include <cmath>
#include <limits>

#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

TEST_F(DecoderService, StreamsStartedDeltasFinished) {
  engine_.script = tokenizer_.Encode("Hello! How are you?", false);
  const Answer answer = Generate(Hello());
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.text(), "Hello! How are you?");
  EXPECT_THAT(answer.tokens(), testing::ElementsAreArray(engine_.script));
  EXPECT_FALSE(answer.started().request_id().empty());
  EXPECT_EQ(answer.started().prompt_tokens(), engine_.last().prompt.tokens.size());
  const v1::Finished& finished = answer.finished();
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(finished.usage().prompt_tokens(), answer.started().prompt_tokens());
  EXPECT_EQ(finished.usage().completion_tokens(), engine_.script.size());
  EXPECT_EQ(finished.usage().thought_tokens(), 0u);
  EXPECT_EQ(finished.timings().prefill().nanos(), 20'000'000);
  EXPECT_GE(finished.timings().time_to_first_token().nanos(), 25'000'000);
  const auto bos_first = engine_.last().prompt.tokens.at(0);
  EXPECT_EQ(bos_first, tokenizer_.bos());
}

TEST_F(DecoderService, TellsThoughtsApart) {
  engine_.script = tokenizer_.Encode("<|channel>thought\nA red circle.<channel|>Red.", true);
  const Answer answer = Generate(Hello());
  ASSERT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.text(v1::CHANNEL_THOUGHT), "A red circle.");
  EXPECT_EQ(answer.text(), "Red.");
  EXPECT_GT(answer.finished().usage().thought_tokens(), 3u);
}

TEST_F(DecoderService, StopsBeforeAStopString) {
  engine_.script = tokenizer_.Encode("One two three four", false);
  v1::GenerateRequest request = Hello();
  request.add_stop("three");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.text(), "One two ");
  EXPECT_EQ(answer.finished().reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_EQ(answer.finished().stop_string(), "three");
}

TEST_F(DecoderService, ReportsWhyItEnded) {
  engine_.script = {10};
  engine_.finish = EngineFinish::kMaxTokens;
  EXPECT_EQ(Generate(Hello()).finished().reason(), v1::FINISH_REASON_MAX_TOKENS);
  engine_.finish = EngineFinish::kContextFull;
  EXPECT_EQ(Generate(Hello()).finished().reason(), v1::FINISH_REASON_CONTEXT_FULL);
  engine_.finish = EngineFinish::kStopToken;
  engine_.stop_token = tokenizer_.Find("<|tool_response>");
  EXPECT_EQ(Generate(Hello()).finished().reason(), v1::FINISH_REASON_TOOL_CALL);
}

TEST_F(DecoderService, ReportsLogprobsOfEveryToken) {
  engine_.script = tokenizer_.Encode("Grüße 🙂!", false);
  v1::GenerateRequest request = Hello();
  EXPECT_EQ(Generate(request).messages[1].delta().logprobs_size(), 0);
  request.set_logprobs(2);
  const Answer answer = Generate(request);
  std::string bytes;
  size_t tokens = 0;
  for (const auto& message : answer.messages) {
    EXPECT_EQ(message.delta().logprobs_size(), message.delta().token_ids_size());
    for (const v1::TokenLogprobs& logprobs : message.delta().logprobs()) {
      bytes += logprobs.chosen().token();
      EXPECT_EQ(logprobs.chosen().logprob(), -0.5f);
      ASSERT_EQ(logprobs.alternatives_size(), 2);
      EXPECT_EQ(logprobs.alternatives(1).token_id(), 11u);
      ++tokens;
    }
  }
  EXPECT_EQ(bytes, "Grüße 🙂!");
  EXPECT_EQ(tokens, engine_.script.size());
  request.set_logprobs(0);
  EXPECT_EQ(Generate(request).messages[1].delta().logprobs(0).alternatives_size(), 0);
}

TEST_F(DecoderService, PassesSamplingOn) {
  engine_.script = {10};
  Generate(Hello());
  EXPECT_EQ(engine_.last().sampling.temperature, 1.0f);
  EXPECT_EQ(engine_.last().sampling.top_k, 64);
  EXPECT_EQ(engine_.last().sampling.top_p, 0.95f);
  const auto drawn = engine_.last().sampling.seed;
  Generate(Hello());
  EXPECT_NE(engine_.last().sampling.seed, drawn);
  v1::GenerateRequest request = Hello();
  request.MergeFrom(
      Parse("max_tokens: 4294967295 sampling { temperature: 0 top_k: 0 top_p: 0.5 min_p: 0.1 "
            "repetition_penalty: 1.5 frequency_penalty: -1 presence_penalty: 2 seed: 0 "
            "logit_bias { token_id: 5 bias: -inf } }"));
  ASSERT_TRUE(Generate(request).status.ok());
  const EngineRequest last = engine_.last();
  EXPECT_EQ(last.max_tokens, std::numeric_limits<int>::max());
  EXPECT_EQ(last.sampling.temperature, 0);
  EXPECT_EQ(last.sampling.top_k, 0);
  EXPECT_EQ(last.sampling.top_p, 0.5f);
  EXPECT_EQ(last.sampling.min_p, 0.1f);
  EXPECT_EQ(last.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(last.sampling.frequency_penalty, -1);
  EXPECT_EQ(last.sampling.presence_penalty, 2);
  EXPECT_EQ(last.sampling.seed, 0u);
  ASSERT_THAT(last.sampling.logit_bias, SizeIs(1));
  EXPECT_EQ(last.sampling.logit_bias[0].first, 5);
  EXPECT_TRUE(std::isinf(last.sampling.logit_bias[0].second));
}

TEST_F(DecoderService, RefusesBadOptions) {
  const std::pair<const char*, const char*> cases[] = {
      {"sampling { temperature: nan }", "sampling.temperature"},
      {"sampling { temperature: -1 }", "sampling.temperature"},
      {"sampling { top_p: 1.5 }", "sampling.top_p"},
      {"sampling { min_p: -0.1 }", "sampling.min_p"},
      {"sampling { repetition_penalty: 0 }", "sampling.repetition_penalty"},
      {"sampling { frequency_penalty: inf }", "sampling.frequency_penalty"},
      {"sampling { presence_penalty: nan }", "sampling.presence_penalty"},
      {"sampling { logit_bias { token_id: 4294967295 } }", "sampling.logit_bias[0].token_id"},
      {"sampling { logit_bias { token_id: 3 bias: nan } }", "sampling.logit_bias"},
      {"logprobs: 21", "logprobs"},
      {"stop: 'a' stop: ''", "stop[1]"},
  };
  for (const auto& [text, field] : cases) {
    v1::GenerateRequest request = WithPicture();
    request.MergeFrom(Parse(text));
    ExpectError(request, absl::StatusCode::kInvalidArgument, field);
  }
  v1::GenerateRequest request = Hello();
  request.add_stop(std::string(257, 'x'));
  ExpectError(request, absl::StatusCode::kInvalidArgument, "stop[0]", "256");
  for (int i = 0; i < 20; ++i) request.add_stop("x");
  ExpectError(request, absl::StatusCode::kInvalidArgument, "stop", "at most 16");
  // None of these cost an encoding.
  EXPECT_EQ(encoder_.calls, 0);
}

TEST_F(DecoderService, RefusesBadPrompts) {
  const std::tuple<const char*, const char*> cases[] = {
      {"", "prompt"},
      {"chat {}", "chat.messages"},
      {"chat { messages { role: ROLE_USER } }", "chat.messages[0].parts"},
      {"chat { messages { role: ROLE_USER parts {} } }", "chat.messages[0].parts[0]"},
      {"chat { messages { parts { text: 'x' } } }", "chat.messages[0].role"},
      {"chat { messages { role: ROLE_USER parts { text: 'x' } } messages { role: 9 parts { text: "
       "'x' } } }",
       "chat.messages[1].role"},
      {"chat { messages { role: ROLE_USER parts { text: 'x' } } messages { role: ROLE_SYSTEM parts "
       "{ text: 'x' } } }",
       "chat.messages[1].role"},
      {"chat { messages { role: ROLE_USER parts { media {} } } }",
       "chat.messages[0].parts[0].media.data"},
      {"raw {}", "raw.parts"},
      {"raw { parts {} }", "raw.parts[0]"},
      {"raw { no_bos: true parts { text: '' } }", "raw"},
      {"raw { parts { text: 'x' } parts { token_ids { ids: 1 ids: 4294967295 } } }",
       "raw.parts[1].token_ids.ids[1]"},
  };
  for (const auto& [text, field] : cases) {
    ExpectError(Parse(text), absl::StatusCode::kInvalidArgument, field);
  }
  ExpectError(Parse("raw { parts { token_ids { ids: 99999 } } }"),
              absl::StatusCode::kInvalidArgument, "raw.parts[0].token_ids.ids[0]", "99999");
}

TEST_F(DecoderService, SaysWhatItDoesNotHave) {
  v1::GenerateRequest request = Hello();
  request.mutable_chat()->add_tools()->set_name("t");
  ExpectError(request, absl::StatusCode::kUnimplemented, "chat.tools");
  ExpectError(Parse("chat { messages { role: ROLE_MODEL parts { tool_call { name: 'f' } } } }"),
              absl::StatusCode::kUnimplemented, "chat.messages[0].parts[0]");
}

TEST_F(DecoderService, RefusesAPromptOverTheContextBeforeEncoding) {
  v1::GenerateRequest request = WithPicture();
  std::string text;
  for (int i = 0; i < kContext; ++i) text += "a b ";
  request.mutable_chat()->mutable_messages(0)->add_parts()->set_text(text);
  ExpectError(request, absl::StatusCode::kOutOfRange, "prompt", "the context holds 200");
  EXPECT_EQ(encoder_.calls, 0);
}

TEST_F(DecoderService, RefusesASoundOverTheContextAtItsHeader) {
  encoder_.rows = kContext + 1;
  const v1::GenerateRequest request =
      Parse("chat { messages { role: ROLE_USER parts { media { data: 'OggS' } } } }");
  ExpectError(request, absl::StatusCode::kOutOfRange, "chat.messages[0].parts[0].media",
              "it takes 201 tokens; the context holds 200");
  v1::CountTokensRequest count;
  *count.mutable_chat() = request.chat();
  v1::CountTokensResponse response;
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  EXPECT_GT(response.tokens(), uint32_t{kContext});
}

TEST_F(DecoderService, PassesTheEnginesRefusalOn) {
  engine_.reserve_error = MakeError(absl::StatusCode::kResourceExhausted, "full",
                                    {.reason = "QUEUE_FULL", .retry_after = absl::Seconds(2)});
  const Answer answer = Generate(WithPicture());
  EXPECT_EQ(answer.status, engine_.reserve_error);
  EXPECT_TRUE(answer.messages.empty());
}

TEST_F(DecoderService, EndsWithTheEnginesError) {
  engine_.script = tokenizer_.Encode("Hel", false);
  engine_.result_error = absl::InternalError("a device is gone");
  const Answer answer = Generate(Hello());
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(answer.messages.front().has_started());
  EXPECT_FALSE(answer.messages.back().has_finished());
}

TEST_F(DecoderService, CancelFreesTheEngine) {
  engine_.script = tokenizer_.Encode("la ", false);
  engine_.endless = true;
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Hello());
  v1::GenerateResponse message;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(engine_.load().running, 1);
  context.TryCancel();
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  for (int i = 0; i < 2000 && engine_.load().running > 0; ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(engine_.load().running, 0);
}

TEST_F(DecoderService, CancelWhileEncodingReachesTheEncoder) {
  std::atomic<bool> cancelled = false;
  encoder_.encode = [&](grpc::ServerContext* server, const v1::EncodeImageRequest*,
                        FakeEncoderService::Writer*) {
    while (!server->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
    cancelled = true;
    return grpc::Status::CANCELLED;
  };
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(300)));
  auto reader = stub_->Generate(&context, WithPicture());
  v1::GenerateResponse message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  for (int i = 0; i < 2000 && !cancelled; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_TRUE(cancelled);
}

// What is kept for a client holds most answers; SlowReader has one that it does not.
TEST_F(DecoderService, ASlowClientDoesNotHoldTheEngine) {
  // More than the first window between client and server takes, less than a mebibyte.
  engine_.script.assign(300, tokenizer_.Encode("word", false).at(0));
  v1::GenerateRequest request = Hello();
  request.set_logprobs(20);
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, request);
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  for (int i = 0; i < 6000 && engine_.load().running > 0; ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(engine_.load().running, 0);
  EXPECT_EQ(engine_.holds, 0);
  size_t tokens = 0, bytes = 0;
  while (reader->Read(&message)) {
    tokens += message.delta().token_ids_size();
    bytes += message.ByteSizeLong();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 300u);
  EXPECT_GT(bytes, 96u << 10);
}

TEST_F(DecoderService, CountsTokensWithoutEncoding) {
  engine_.script = {10};
  v1::GenerateRequest request = WithPicture();
  *request.mutable_chat()->mutable_messages(0)->add_parts()->mutable_soft_tokens() = Soft(3);
  ASSERT_TRUE(Generate(request).status.ok());
  bool header_only = false;
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* r,
                        FakeEncoderService::Writer* writer) {
    header_only = r->header_only();
    return encoder_.Good(*r, writer);
  };
  v1::CountTokensRequest count;
  *count.mutable_chat() = request.chat();
  v1::CountTokensResponse response;
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  EXPECT_TRUE(header_only);
  EXPECT_EQ(response.tokens(), engine_.last().prompt.tokens.size());
  EXPECT_EQ(response.token_ids_size(), 0);
  EXPECT_EQ(response.rendered(), "");
  count.set_include_token_ids(true);
  count.set_include_rendered(true);
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  EXPECT_THAT(response.token_ids(), testing::ElementsAreArray(engine_.last().prompt.tokens));
  EXPECT_EQ(response.rendered(),
            "<bos><|turn>user\n<|image>… 5 soft tokens …<image|>Hi<|image>… 3 soft tokens …"
            "<image|><turn|>\n<|turn>model\n");
  EXPECT_EQ(Count({}, &response).code(), absl::StatusCode::kInvalidArgument);
  // To know by how much it is over the context.
  std::string words;
  for (int i = 0; i < kContext; ++i) words += "a b ";
  count.mutable_chat()->mutable_messages(0)->add_parts()->set_text(words);
  EXPECT_EQ(Count(count, &response).code(), absl::StatusCode::kOutOfRange);
  count.clear_include_token_ids();
  count.clear_include_rendered();
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  EXPECT_GT(response.tokens(), uint32_t{kContext});
}

TEST_F(DecoderService, TellsWhatItIs) {
  grpc::ClientContext context;
  v1::GetDecoderInfoResponse info;
  ASSERT_TRUE(stub_->GetDecoderInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.model_name(), "fake");
  EXPECT_EQ(info.dim(), 4u);
  EXPECT_EQ(info.context_length(), 200u);
  EXPECT_EQ(info.max_sequences(), 3u);
  EXPECT_EQ(info.encoder_fingerprint(), encoder_.fingerprint);
  ASSERT_EQ(info.encoders_size(), 1);
  EXPECT_EQ(info.encoders(0).address(), encoder_address_);
  EXPECT_TRUE(info.encoders(0).healthy());
}

class DecoderAlone : public DecoderService {
 protected:
  DecoderAlone() { context_.encoders = nullptr; }
};

TEST_F(DecoderAlone, AnswersTextAndRefusesMedia) {
  engine_.script = {10};
  EXPECT_TRUE(Generate(Hello()).status.ok());
  ExpectError(WithPicture(), absl::StatusCode::kFailedPrecondition,
              "chat.messages[0].parts[0].media", "without one");
  ExpectError(WithSoft(Soft(2)), absl::StatusCode::kFailedPrecondition,
              "chat.messages[0].parts[1].soft_tokens.header.encoder_fingerprint");
}

}  // namespace
}  // namespace softsplice
