// The decoder service over a real socket: real tokenizer and template, an engine and an encoder
// that do as the test says.
#pragma once

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

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

inline constexpr int kContext = 200;
inline const Logger kQuiet(LogFormat::kText, LogLevel::kError);

inline const Tokenizer& TestTokenizer() {
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
    auto server = Server::Start({.listen = address}, border_, {MakeDecoderService(context_)});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    stub_ = v1::DecoderService::NewStub(channel_);
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
    EXPECT_THAT(std::string(answer.status.message()), testing::HasSubstr(text));
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
  // Before what may hold calls: their bytes are counted there.
  Border border_{{}};
  CallCounts counts_;
  Metrics metrics_;
  const CallMetrics call_metrics_{metrics_, DecoderServiceDescriptor()};
  const DecoderMetrics decoder_metrics_{metrics_};
  FakeEngine engine_{{.name = "fake",
                      .backend = "none",
                      .dim = 4,
                      .vocabulary_size = tokenizer_.size(),
                      .context_length = kContext,
                      .max_sequences = 3}};
  Workers workers_{2};
  const std::string encoder_address_ = TestAddress("encoder");
  FakeEncoderService encoder_;
  FakeEncoderServer encoder_server_{encoder_address_, &encoder_};
  EncoderPool pool_{{.encoders = {*ParseEncoderName(encoder_address_)},
                     .dim = 4,
                     .on_retry = [this](Blame why) { decoder_metrics_.OnRetry(why); }},
                    kQuiet};
  const Calls calls_{kQuiet, border_, workers_, call_metrics_};
  KnownMedia known_media_;
  absl::Duration session_clock_ = absl::Hours(1);
  Sessions sessions_{
      {.max_sessions = 4, .max_bytes = 1 << 20, .advertise = "me:1", .clock = [this] {
         return session_clock_;
       }}};
  DecoderContext context_{.engine = engine_,
                          .tokenizer = tokenizer_,
                          .chat_template = template_,
                          .encoders = &pool_,
                          .calls = calls_,
                          .counts = counts_,
                          .metrics = decoder_metrics_,
                          .known_media = known_media_,
                          .sessions = sessions_,
                          .limits = {.max_media_bytes = 1000, .max_media = 3}};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::DecoderService::Stub> stub_;
};

}  // namespace softsplice
