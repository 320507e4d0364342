// Pictures, sounds and soft tokens in the requests of the decoder service.
#include <atomic>
#include <thread>

#include "common/config/text_config.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

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

class DecoderOfKnownMedia : public DecoderService {
 protected:
  DecoderOfKnownMedia() {
    engine_.script = {10};
    encoder_.encode = [this](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                             FakeEncoderService::Writer* writer) {
      ++asked_;
      FakeEncoderService other;
      return other.Good(*request, writer);
    };
  }
  std::vector<SoftRun> Soft(const v1::GenerateRequest& request) {
    const Answer answer = Generate(request);
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    return engine_.last().prompt.soft;
  }

  std::atomic<int> asked_ = 0;
};

TEST_F(DecoderOfKnownMedia, AsksNoEncoderForRowsThatTheEngineMayHave) {
  const std::vector<SoftRun> first = Soft(WithPicture());
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_NE(first[0].values, nullptr);
  EXPECT_EQ(asked_, 1);
  const std::vector<SoftRun> again = Soft(WithPicture());
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].values, nullptr);
  EXPECT_EQ(again[0].name, first[0].name);
  EXPECT_EQ(again[0].rows, first[0].rows);
  EXPECT_EQ(asked_, 1);
}

TEST_F(DecoderOfKnownMedia, AsksForRowsThatTheEngineHasForgotten) {
  Soft(WithPicture());
  engine_.forgets_rows = true;
  const std::vector<SoftRun> again = Soft(WithPicture());
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_NE(again[0].values, nullptr);
  EXPECT_EQ(asked_, 2);
  EXPECT_EQ(engine_.load().reserved, 0);
}

TEST_F(DecoderOfKnownMedia, KnowsNothingAcrossScopes) {
  v1::GenerateRequest mine = WithPicture(), yours = WithPicture(), fresh = WithPicture();
  mine.set_cache_salt("mine");
  yours.set_cache_salt("yours");
  fresh.set_no_prefix_cache(true);
  for (const auto& request : {mine, yours, fresh, fresh}) {
    EXPECT_NE(Soft(request).at(0).values, nullptr);
  }
  EXPECT_EQ(asked_, 4);
  EXPECT_EQ(Soft(mine).at(0).values, nullptr);
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
  constexpr int32_t pad = kMediaToken;
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
    ASSERT_THAT(*run.values, SizeIs(4 * run.rows));
    EXPECT_EQ((*run.values)[0], 2 * i);
  }
  v1::CountTokensRequest count;
  count.set_include_token_ids(true);
  count.set_include_rendered(true);
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
  constexpr int32_t pad = kMediaToken;
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
  count.set_include_token_ids(true);
  count.set_include_rendered(true);
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
    context_.limits.max_media = 100;
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

// Twelve pictures of 1,120 rows were all encoded for a context of 2,048.
TEST_F(DecoderOfManyMedia, AddsRowsUpAsHeadersCome) {
  encoder_.rows = kContext / 4 + 1;
  const Answer answer = Generate(Media(20));
  EXPECT_EQ(GetErrorDetail(answer.status).reason, "PROMPT_TOO_LONG") << answer.status;
  EXPECT_THAT(std::string(answer.status.message()),
              HasSubstr("it takes 51 tokens; the context holds 200, and others of this request"));
  // Those that were begun together, at most.
  EXPECT_LE(encoder_.calls, 8 + 3);
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
  // Wherever it was between encoder and engine, nothing of it is left.
  const auto left = [&] {
    const EngineLoad load = engine_.load();
    return border_.live_bytes() + static_cast<uint64_t>(border_.live_calls() + counts_.encoding +
                                                        load.reserved + load.running);
  };
  for (int i = 0; i < 2000 && left() > 0; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(left(), 0u);
}

TEST_F(DecoderService, NeverAnswersWithoutItsMedia) {
  encoder_server_.Stop();
  const Answer answer = Generate(WithPicture());
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kUnavailable) << answer.status;
  EXPECT_EQ(GetErrorDetail(answer.status).field, "chat.messages[0].parts[0].media");
  // It was waited for, for a moment.
  for (const auto& message : answer.messages) EXPECT_TRUE(message.has_progress());
  EXPECT_TRUE(engine_.last().prompt.tokens.empty());
  engine_.script = {10};
  EXPECT_TRUE(Generate(Hello()).status.ok());
}

TEST_F(DecoderService, LoadCountsWhoseMediaAreEncoded) {
  std::atomic<bool> go = false;
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* r,
                        FakeEncoderService::Writer* writer) {
    while (!go) absl::SleepFor(absl::Milliseconds(2));
    return encoder_.Good(*r, writer);
  };
  const auto encoding = [&] {
    grpc::ClientContext context;
    v1::GetDecoderInfoResponse info;
    EXPECT_TRUE(stub_->GetDecoderInfo(&context, {}, &info).ok());
    return info.load().encoding();
  };
  engine_.script = {10};
  std::thread client([&] { EXPECT_TRUE(Generate(WithPicture()).status.ok()); });
  for (int i = 0; i < 2000 && encoder_.calls < 1; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(encoding(), 1u);
  go = true;
  client.join();
  EXPECT_EQ(encoding(), 0u);
}

TEST_F(DecoderService, AsksNoEncoderForWhomTheEngineHasNoPlace) {
  engine_.reserve_error = MakeError(absl::StatusCode::kResourceExhausted, "the queue is full",
                                    {.reason = reason::kQueueFull});
  const Answer answer = Generate(WithPicture());
  EXPECT_EQ(GetErrorDetail(answer.status).reason, "QUEUE_FULL") << answer.status;
  EXPECT_EQ(encoder_.calls, 0);
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

}  // namespace
}  // namespace softsplice
