// The decoder service over a real socket: real tokenizer and template, an engine and an encoder
// that do as the test says.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "common/gguf/file.h"
#include "common/hash/crc32c.h"
#include "common/server/server.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "decoder_svc/server/service.h"
#include "softsplice/v1/decoder.grpc.pb.h"
#include "tests/decoder_svc/encoder_pool/fake_encoder.h"
#include "tests/decoder_svc/server/fake_engine.h"

namespace softsplice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr int kContext = 200;
const Logger kQuiet(LogFormat::kText, LogLevel::kError);

const Tokenizer& TestTokenizer() {
  static const std::unique_ptr<gguf::File> file =
      *gguf::File::Open("tests/data/demo/demo-text.gguf");
  static const std::unique_ptr<Tokenizer> tokenizer = *Tokenizer::FromGguf(*file);
  return *tokenizer;
}

class DecoderService : public testing::Test {
 protected:
  DecoderService() {
    const std::string address = TestAddress("decoder");
    pool_.WaitForFirstAnswers(absl::Seconds(10));
    auto server = Server::Start({.listen = address}, {MakeDecoderService(context_)});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::DecoderService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }
  // The handlers use all of the rest.
  ~DecoderService() override { server_.reset(); }

  struct Answer {
    std::vector<v1::GenerateResponse> messages;
    absl::Status status;

    const v1::Started& started() const { return messages.front().started(); }
    const v1::Finished& finished() const { return messages.back().finished(); }
    std::string text(v1::Channel channel = v1::CHANNEL_ANSWER) const {
      std::string text;
      for (const auto& message : messages) {
        if (message.delta().channel() == channel) text += message.delta().text();
      }
      return text;
    }
    std::vector<uint32_t> tokens() const {
      std::vector<uint32_t> tokens;
      for (const auto& message : messages) {
        tokens.insert(tokens.end(), message.delta().token_ids().begin(),
                      message.delta().token_ids().end());
      }
      return tokens;
    }
  };

  Answer Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, request);
    Answer answer;
    v1::GenerateResponse message;
    while (reader->Read(&message)) answer.messages.push_back(message);
    answer.status = FromGrpcStatus(reader->Finish());
    return answer;
  }

  absl::Status Count(const v1::CountTokensRequest& request, v1::CountTokensResponse* response) {
    grpc::ClientContext context;
    return FromGrpcStatus(stub_->CountTokens(&context, request, response));
  }

  void ExpectError(const v1::GenerateRequest& request, absl::StatusCode code,
                   const std::string& field, const std::string& text = "") {
    const Answer answer = Generate(request);
    EXPECT_EQ(answer.status.code(), code) << answer.status;
    EXPECT_EQ(GetErrorDetail(answer.status).field, field) << answer.status;
    EXPECT_NE(GetErrorDetail(answer.status).reason, "");
    EXPECT_THAT(std::string(answer.status.message()), HasSubstr(text));
    EXPECT_TRUE(answer.messages.empty());
    // Whatever went wrong, the next request works.
    EXPECT_TRUE(Generate(Hello()).status.ok());
  }

  static v1::GenerateRequest Parse(const std::string& text) {
    v1::GenerateRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
    return request;
  }
  static v1::GenerateRequest Hello() {
    return Parse("chat { messages { role: ROLE_USER parts { text: 'Hello!' } } }");
  }
  static v1::GenerateRequest WithPicture() {
    return Parse(
        "chat { messages { role: ROLE_USER parts { media { data: 'bytes' } } parts { text: 'Hi' } "
        "} }");
  }
  v1::SoftTokens Soft(uint32_t rows) const {
    v1::SoftTokens soft;
    *soft.mutable_header() = encoder_.Header().header();
    soft.mutable_header()->set_rows(rows);
    for (uint32_t i = 0; i < rows; ++i) *soft.mutable_data() += encoder_.Row(i);
    soft.set_crc32c(Crc32c(soft.data()));
    return soft;
  }
  v1::GenerateRequest WithSoft(const v1::SoftTokens& soft) const {
    v1::GenerateRequest request = Hello();
    *request.mutable_chat()->mutable_messages(0)->add_parts()->mutable_soft_tokens() = soft;
    return request;
  }

  const Tokenizer& tokenizer_ = TestTokenizer();
  const ChatTemplate template_{tokenizer_, ""};
  FakeEngine engine_{{.name = "fake",
                      .backend = "none",
                      .dim = 4,
                      .vocabulary_size = tokenizer_.size(),
                      .context_length = kContext}};
  const std::string encoder_address_ = TestAddress("encoder");
  FakeEncoderService encoder_;
  FakeEncoderServer encoder_server_{encoder_address_, &encoder_};
  EncoderPool pool_{{.addresses = {encoder_address_}, .dim = 4}, kQuiet};
  DecoderContext context_{.engine = engine_,
                          .tokenizer = tokenizer_,
                          .chat_template = template_,
                          .encoders = &pool_,
                          .logger = kQuiet,
                          .limits = {.max_media_bytes = 1000, .max_media = 3}};
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::DecoderService::Stub> stub_;
};

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
  EXPECT_FALSE(engine_.last().sampling.seed.has_value());
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
  request.set_session_id("s");
  ExpectError(request, absl::StatusCode::kUnimplemented, "session_id");
  request = Hello();
  request.mutable_chat()->add_tools()->set_name("t");
  ExpectError(request, absl::StatusCode::kUnimplemented, "chat.tools");
  ExpectError(Parse("chat { messages { role: ROLE_MODEL parts { tool_call { name: 'f' } } } }"),
              absl::StatusCode::kUnimplemented, "chat.messages[0].parts[0]");
  grpc::ClientContext create, fork, del;
  v1::CreateSessionResponse created;
  v1::ForkSessionResponse forked;
  v1::DeleteSessionResponse deleted;
  for (const grpc::Status& status :
       {stub_->CreateSession(&create, {}, &created), stub_->ForkSession(&fork, {}, &forked),
        stub_->DeleteSession(&del, {}, &deleted)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_THAT(status.error_message(), HasSubstr("sessions"));
  }
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
  engine_.submit_error = MakeError(absl::StatusCode::kResourceExhausted, "full",
                                   {.reason = "QUEUE_FULL", .retry_after = absl::Seconds(2)});
  const Answer answer = Generate(WithPicture());
  EXPECT_EQ(answer.status, engine_.submit_error);
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

TEST_F(DecoderService, SplicesAPicture) {
  engine_.script = {10};
  const Answer answer = Generate(WithPicture());
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  const Prompt prompt = engine_.last().prompt;
  ASSERT_THAT(prompt.soft, SizeIs(1));
  const SoftRun& run = prompt.soft[0];
  EXPECT_EQ(run.rows, 5);
  ASSERT_THAT(*run.values, SizeIs(20));
  EXPECT_EQ((*run.values)[19], 4);
  EXPECT_EQ(prompt.tokens[run.first - 1], tokenizer_.Find("<|image>"));
  EXPECT_EQ(prompt.tokens[run.first + 5], tokenizer_.Find("<image|>"));
  ASSERT_EQ(answer.started().media_size(), 1);
  const v1::MediaUse& use = answer.started().media(0);
  EXPECT_EQ(use.header().rows(), 5u);
  EXPECT_GT(use.encode().nanos(), 0);
  EXPECT_EQ(answer.started().prompt_tokens(), prompt.tokens.size());
  EXPECT_GT(answer.finished().timings().encode().nanos(), 0);
}

TEST_F(DecoderService, KeepsTheOrderOfSeveralMedia) {
  engine_.script = {10};
  // The later a picture stands, the sooner it is done.
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                        FakeEncoderService::Writer* writer) {
    FakeEncoderService other;
    other.rows = static_cast<uint32_t>(request->data().size());
    absl::SleepFor(absl::Milliseconds(60 / other.rows));
    return other.Good(*request, writer);
  };
  v1::GenerateRequest request = Parse(
      "chat { messages { role: ROLE_USER parts { media { data: '1' } } parts { text: 'x' } "
      "parts { media { data: '333' } } } }");
  *request.mutable_chat()->mutable_messages(0)->add_parts()->mutable_soft_tokens() = Soft(7);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  const std::vector<SoftRun> soft = engine_.last().prompt.soft;
  ASSERT_THAT(soft, SizeIs(3));
  EXPECT_EQ(soft[0].rows, 1);
  EXPECT_EQ(soft[1].rows, 3);
  EXPECT_EQ(soft[2].rows, 7);
  EXPECT_EQ(answer.started().media(2).header().rows(), 7u);
  EXPECT_EQ(answer.started().media(2).encode().nanos(), 0);
}

TEST_F(DecoderService, SendsSoundsToTheSoundEncoder) {
  engine_.script = {10};
  std::string mime_type;
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest* request,
                              FakeEncoderService::AudioWriter* writer) {
    mime_type = request->mime_type();
    return encoder_.Good(*request, writer);
  };
  for (const char* media :
       {"data: 'x' mime_type: 'audio/wav'", "data: 'x' mime_type: 'audio/L16;rate=8000'",
        "data: 'RIFF0000WAVEfmt '", "data: 'fLaC00'", "data: 'OggS00'", "data: 'ID3xx'",
        "data: '\\377\\373\\220\\144'"}) {
    mime_type = "not asked";
    const Answer answer = Generate(Parse(absl::StrCat("raw { parts { media { ", media, " } } }")));
    ASSERT_TRUE(answer.status.ok()) << media << answer.status;
    EXPECT_NE(mime_type, "not asked") << media;
    const Prompt prompt = engine_.last().prompt;
    ASSERT_THAT(prompt.soft, SizeIs(1));
    EXPECT_EQ(prompt.tokens[prompt.soft[0].first - 1], tokenizer_.Find("<|audio>"));
    EXPECT_EQ(prompt.tokens[prompt.soft[0].first + 5], tokenizer_.Find("<audio|>"));
    EXPECT_EQ(answer.started().media(0).header().modality(), v1::MODALITY_AUDIO);
    EXPECT_GT(answer.started().media(0).encode().nanos(), 0);
  }
  mime_type = "not asked";
  EXPECT_TRUE(Generate(Parse("raw { parts { media { data: 'OggS' mime_type: 'image/png' } } }"))
                  .status.ok());
  EXPECT_EQ(mime_type, "not asked");
}

TEST_F(DecoderService, PutsMarkersBetweenTheSegmentsOfASound) {
  engine_.script = {10};
  encoder_.segments = {2, 2, 1};
  const v1::GenerateRequest request = Parse(
      "chat { messages { role: ROLE_USER parts { media { data: 'fLaC' } } parts { text: 'Hi' } } "
      "}");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.started().media(0).header().audio().segments_size(), 3);
  const int32_t begin = tokenizer_.Find("<|audio>");
  const int32_t end = tokenizer_.Find("<audio|>");
  const int32_t pad = tokenizer_.pad();
  const Prompt prompt = engine_.last().prompt;
  EXPECT_EQ(answer.started().prompt_tokens(), prompt.tokens.size());
  ASSERT_THAT(prompt.soft, SizeIs(3));
  const int first = prompt.soft[0].first;
  const std::vector<int32_t> tokens(prompt.tokens.begin() + first - 1,
                                    prompt.tokens.begin() + first + 10);
  EXPECT_THAT(tokens, ElementsAre(begin, pad, pad, end, begin, pad, pad, end, begin, pad, end));
  for (int i = 0; i < 3; ++i) {
    const SoftRun& run = prompt.soft[i];
    EXPECT_EQ(run.first, first + 4 * i);
    EXPECT_EQ(run.rows, i < 2 ? 2 : 1);
    EXPECT_EQ(run.first_row, 2 * i);
    EXPECT_EQ((*run.values)[run.first_row * 4], 2 * i);
  }
  v1::CountTokensRequest count;
  *count.mutable_chat() = request.chat();
  v1::CountTokensResponse response;
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  EXPECT_THAT(response.token_ids(), testing::ElementsAreArray(prompt.tokens));
  EXPECT_EQ(response.rendered(),
            "<bos><|turn>user\n<|audio>… 2 soft tokens …<audio|><|audio>… 2 soft tokens …<audio|>"
            "<|audio>… 1 soft tokens …<audio|>Hi<turn|>\n<|turn>model\n");
}

TEST_F(DecoderService, PutsMarkersBetweenTheSegmentsOfSoftTokens) {
  engine_.script = {10};
  v1::SoftTokens soft = Soft(3);
  soft.mutable_header()->set_modality(v1::MODALITY_AUDIO);
  for (const uint32_t first : {0, 2}) {
    v1::AudioSegment* segment = soft.mutable_header()->mutable_audio()->add_segments();
    segment->set_first_row(first);
    segment->set_rows(first == 0 ? 2 : 1);
  }
  // Those around it are the caller's, those inside are not.
  v1::GenerateRequest request =
      Parse("raw { no_bos: true parts { token_ids { ids: 7 } } parts {} }");
  *request.mutable_raw()->mutable_parts(1)->mutable_soft_tokens() = soft;
  ASSERT_TRUE(Generate(request).status.ok());
  const int32_t pad = tokenizer_.pad();
  EXPECT_THAT(engine_.last().prompt.tokens, ElementsAre(7, pad, pad, tokenizer_.Find("<audio|>"),
                                                        tokenizer_.Find("<|audio>"), pad));
  EXPECT_TRUE(Generate(WithSoft(soft)).status.ok());
  soft.mutable_header()->mutable_audio()->mutable_segments(1)->set_rows(2);
  ExpectError(WithSoft(soft), absl::StatusCode::kInvalidArgument,
              "chat.messages[0].parts[1].soft_tokens.header.audio.segments[1].rows");
}

TEST_F(DecoderService, MixesTextPicturesAndSounds) {
  engine_.script = {10};
  encoder_.segments = {4, 1};
  v1::GenerateRequest request = Parse(
      "chat { messages { role: ROLE_USER parts { text: 'a' } parts { media { data: 'OggS' } } "
      "parts { text: 'b' } parts { media { data: 'picture' } } } "
      "messages { role: ROLE_MODEL parts { text: 'c' } } "
      "messages { role: ROLE_USER parts { media { data: 'fLaC' } } } }");
  v1::CountTokensRequest count;
  *count.mutable_chat() = request.chat();
  v1::CountTokensResponse response;
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  const std::string sound = "<|audio>… 4 soft tokens …<audio|><|audio>… 1 soft tokens …<audio|>";
  EXPECT_EQ(
      response.rendered(),
      absl::StrCat("<bos><|turn>user\na", sound, "b<|image>… 5 soft tokens …<image|><turn|>\n",
                   "<|turn>model\nc<turn|>\n<|turn>user\n", sound, "<turn|>\n<|turn>model\n"));
  ASSERT_TRUE(Generate(request).status.ok());
  EXPECT_THAT(engine_.last().prompt.tokens, testing::ElementsAreArray(response.token_ids()));
  EXPECT_THAT(engine_.last().prompt.soft, SizeIs(5));
}

TEST_F(DecoderService, RefusesBadSoundsWithTheirField) {
  const std::string sound = "chat { messages { role: ROLE_USER parts { media { data: 'OggS' ";
  ExpectError(Parse(sound + "max_soft_tokens: 70 } } } }"), absl::StatusCode::kInvalidArgument,
              "chat.messages[0].parts[0].media.max_soft_tokens", "is 70; it is for pictures");
  EXPECT_EQ(encoder_.calls, 0);
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest*,
                              FakeEncoderService::AudioWriter*) {
    return ToGrpcStatus(InvalidMedia("not a sound"));
  };
  ExpectError(Parse(sound + "} } } }"), absl::StatusCode::kInvalidArgument,
              "chat.messages[0].parts[0].media.data", "not a sound");
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest*,
                              FakeEncoderService::AudioWriter*) {
    return ToGrpcStatus(MakeError(absl::StatusCode::kFailedPrecondition, "no audio tower",
                                  {.reason = "NO_AUDIO_TOWER"}));
  };
  ExpectError(Parse(sound + "} } } }"), absl::StatusCode::kFailedPrecondition,
              "chat.messages[0].parts[0].media", "no audio tower");
}

TEST_F(DecoderService, CancelWhileSoundsAreEncodedReachesTheEncoder) {
  std::atomic<int> cancelled = 0;
  encoder_.encode_audio = [&](grpc::ServerContext* server, const v1::EncodeAudioRequest*,
                              FakeEncoderService::AudioWriter*) {
    while (!server->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
    ++cancelled;
    return grpc::Status::CANCELLED;
  };
  grpc::ClientContext context;
  auto reader = stub_->Generate(
      &context, Parse("raw { parts { media { data: 'OggS' } } parts { media { data: 'fLaC' } } }"));
  for (int i = 0; i < 2000 && encoder_.calls < 2; ++i) absl::SleepFor(absl::Milliseconds(5));
  context.TryCancel();
  v1::GenerateResponse message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  for (int i = 0; i < 2000 && cancelled < 2; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(cancelled, 2);
}

TEST_F(DecoderService, RawSoftTokensHaveNoMarkersAndMediaHave) {
  engine_.script = {10};
  v1::GenerateRequest request = Parse(
      "raw { no_bos: true parts { token_ids { ids: 7 } } parts {} parts { media { data: "
      "'x' } } }");
  *request.mutable_raw()->mutable_parts(1)->mutable_soft_tokens() = Soft(2);
  ASSERT_TRUE(Generate(request).status.ok());
  const Prompt prompt = engine_.last().prompt;
  ASSERT_THAT(prompt.soft, SizeIs(2));
  EXPECT_EQ(prompt.soft[0].first, 1);
  EXPECT_EQ(prompt.soft[1].first, 4);
  EXPECT_THAT(prompt.tokens, SizeIs(1 + 2 + 1 + 5 + 1));
  EXPECT_EQ(prompt.tokens[3], tokenizer_.Find("<|image>"));
}

TEST_F(DecoderService, ReadsRawTextAsItIsToldTo) {
  engine_.script = {10};
  ASSERT_TRUE(
      Generate(Parse("raw { parts { text_with_special_tokens: '<|turn>user' } }")).status.ok());
  EXPECT_EQ(engine_.last().prompt.tokens[1], tokenizer_.Find("<|turn>"));
  ASSERT_TRUE(Generate(Parse("raw { parts { text: '<|turn>user' } }")).status.ok());
  EXPECT_NE(engine_.last().prompt.tokens[1], tokenizer_.Find("<|turn>"));
}

TEST_F(DecoderService, RefusesBadMediaWithTheirField) {
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*,
                        FakeEncoderService::Writer*) {
    return ToGrpcStatus(InvalidMedia("not a picture"));
  };
  ExpectError(WithPicture(), absl::StatusCode::kInvalidArgument,
              "chat.messages[0].parts[0].media.data", "not a picture");
  v1::GenerateRequest request = WithPicture();
  request.mutable_chat()->mutable_messages(0)->mutable_parts(0)->mutable_media()->set_data(
      std::string(1001, 'x'));
  ExpectError(request, absl::StatusCode::kResourceExhausted, "chat.messages[0].parts[0].media.data",
              "1000");
  request = WithPicture();
  for (int i = 0; i < 3; ++i) {
    *request.mutable_chat()->mutable_messages(0)->add_parts() =
        WithPicture().chat().messages(0).parts(0);
  }
  ExpectError(request, absl::StatusCode::kResourceExhausted, "chat.messages[0].parts[4].media",
              "more than 3 media");
}

class DecoderOfManyMedia : public DecoderService {
 protected:
  DecoderOfManyMedia() {
    server_.reset();
    context_.limits.max_media = 100;
    const std::string address = TestAddress("many");
    server_ = *Server::Start({.listen = address}, {MakeDecoderService(context_)});
    stub_ = v1::DecoderService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    encoder_.rows = 1;
  }
  // `count` media, sounds and pictures by turns.
  static v1::GenerateRequest Media(int count) {
    v1::GenerateRequest request;
    for (int i = 0; i < count; ++i) {
      request.mutable_raw()->add_parts()->mutable_media()->set_data(i % 2 == 0 ? "OggS" : "x");
    }
    return request;
  }
};

TEST_F(DecoderOfManyMedia, EncodesSomeAtATime) {
  engine_.script = {10};
  std::atomic<int> running = 0;
  std::atomic<int> most = 0;
  const auto encode = [&](const auto& request, auto* writer) {
    most = std::max(most.load(), ++running);
    absl::SleepFor(absl::Milliseconds(3));
    --running;
    return encoder_.Good(request, writer);
  };
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                        FakeEncoderService::Writer* writer) { return encode(*request, writer); };
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest* request,
                              FakeEncoderService::AudioWriter* writer) {
    return encode(*request, writer);
  };
  const Answer answer = Generate(Media(60));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.started().media_size(), 60);
  EXPECT_THAT(engine_.last().prompt.soft, SizeIs(60));
  EXPECT_EQ(encoder_.calls, 60);
  EXPECT_LE(most, 8);
  EXPECT_GT(most, 1);
}

TEST_F(DecoderOfManyMedia, DoesNotBeginTheRestAfterAFailure) {
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest* request,
                              FakeEncoderService::AudioWriter* writer) {
    if (encoder_.calls > 15) return ToGrpcStatus(InvalidMedia("not a sound"));
    return encoder_.Good(*request, writer);
  };
  const Answer answer = Generate(Media(60));
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInvalidArgument) << answer.status;
  EXPECT_LT(encoder_.calls, 40);
  EXPECT_TRUE(answer.messages.empty());
}

TEST_F(DecoderOfManyMedia, CanBeCancelledAtAnyTime) {
  engine_.script = {10};
  for (int i = 0; i < 100; ++i) {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, Media(50));
    absl::SleepFor(absl::Microseconds(300 * i));
    context.TryCancel();
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
    }
    reader->Finish();
  }
  EXPECT_TRUE(Generate(Hello()).status.ok());
}

TEST_F(DecoderService, NeverAnswersWithoutItsMedia) {
  encoder_server_.Stop();
  const Answer answer = Generate(WithPicture());
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kUnavailable) << answer.status;
  EXPECT_EQ(GetErrorDetail(answer.status).field, "chat.messages[0].parts[0].media");
  EXPECT_TRUE(answer.messages.empty());
  EXPECT_TRUE(engine_.last().prompt.tokens.empty());
  engine_.script = {10};
  EXPECT_TRUE(Generate(Hello()).status.ok());
}

TEST_F(DecoderService, ChecksSoftTokensBeforeItUsesThem) {
  engine_.script = {10};
  EXPECT_TRUE(Generate(WithSoft(Soft(2))).status.ok());
  EXPECT_EQ((*engine_.last().prompt.soft.at(0).values)[7], 1);
  const std::string path = "chat.messages[0].parts[1].soft_tokens.";
  v1::SoftTokens soft = Soft(2);
  soft.set_crc32c(soft.crc32c() + 1);
  ExpectError(WithSoft(soft), absl::StatusCode::kInvalidArgument, path + "crc32c");
  soft = Soft(2);
  soft.mutable_header()->set_rows(0x80000002u);
  ExpectError(WithSoft(soft), absl::StatusCode::kInvalidArgument, path + "data");
  soft = Soft(2);
  soft.mutable_header()->set_encoder_fingerprint("other");
  ExpectError(WithSoft(soft), absl::StatusCode::kFailedPrecondition,
              path + "header.encoder_fingerprint");
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

TEST_F(DecoderService, ASlowClientDoesNotHoldTheEngine) {
  // More than any window between client and server takes.
  engine_.script.assign(20'000, tokenizer_.Encode("word", false).at(0));
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
  size_t tokens = 0;
  while (reader->Read(&message)) tokens += message.delta().token_ids_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 20'000u);
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
  EXPECT_THAT(response.token_ids(), testing::ElementsAreArray(engine_.last().prompt.tokens));
  EXPECT_EQ(response.rendered(),
            "<bos><|turn>user\n<|image>… 5 soft tokens …<image|>Hi<|image>… 3 soft tokens …"
            "<image|><turn|>\n<|turn>model\n");
  EXPECT_EQ(Count({}, &response).code(), absl::StatusCode::kInvalidArgument);
  // To know by how much it is over the context.
  std::string words;
  for (int i = 0; i < kContext; ++i) words += "a b ";
  count.mutable_chat()->mutable_messages(0)->add_parts()->set_text(words);
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
  EXPECT_EQ(info.encoder_fingerprint(), encoder_.fingerprint);
  ASSERT_EQ(info.encoders_size(), 1);
  EXPECT_EQ(info.encoders(0).address(), encoder_address_);
  EXPECT_TRUE(info.encoders(0).healthy());
}

class DecoderAlone : public DecoderService {
 protected:
  DecoderAlone() {
    server_.reset();
    DecoderContext alone{
        .engine = engine_, .tokenizer = tokenizer_, .chat_template = template_, .logger = kQuiet};
    const std::string address = TestAddress("alone");
    server_ = *Server::Start({.listen = address}, {MakeDecoderService(alone)});
    stub_ = v1::DecoderService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }
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
