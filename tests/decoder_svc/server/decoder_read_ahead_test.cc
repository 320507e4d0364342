// What the decoder service reads of a prompt while its media are still being encoded.
#include <algorithm>
#include <thread>

#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

using testing::SizeIs;

// What it reads ahead is seen through the engine, which holds its sinks.
class DecoderThatReadsAhead : public DecoderService {
 protected:
  DecoderThatReadsAhead() {
    engine_.script = {10};
    encoder_.encode = [this](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                             FakeEncoderService::Writer* writer) {
      gate_.WaitForNotification();
      FakeEncoderService other;
      return other.Good(*request, writer);
    };
  }
  // So many tokens, a picture, one more.
  static v1::GenerateRequest Request(int tokens) {
    v1::GenerateRequest request = Parse("raw { parts {} parts { media { data: 'x' } } parts {} }");
    auto* parts = request.mutable_raw()->mutable_parts();
    for (int i = 0; i < tokens; ++i) parts->at(0).mutable_token_ids()->add_ids(20 + i % 10);
    parts->at(2).mutable_token_ids()->add_ids(3);
    return request;
  }
  FakeEngine::Ahead WaitForAhead() {
    while (engine_.ahead().empty()) absl::SleepFor(absl::Milliseconds(1));
    return engine_.ahead()[0];
  }

  Event gate_;
};

TEST_F(DecoderThatReadsAhead, ReadsWhatStandsBeforeAMediumAndCountsItAsRead) {
  Answer answer;
  std::thread client([&] { answer = Generate(Request(140)); });
  const FakeEngine::Ahead ahead = WaitForAhead();
  ahead.sink->OnAdmitted(17);
  ahead.sink->OnPrefill(100, 142);
  ahead.sink->OnPrefill(142, 142);
  engine_.cached = 145;  // somebody else read some more
  gate_.Notify();
  client.join();
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_TRUE(engine_.IsCancelled(ahead.handle)) << "before the whole is submitted";
  const Prompt whole = engine_.last().prompt, beginning = ahead.beginning.prompt;
  EXPECT_EQ(beginning.tokens.size(), static_cast<size_t>(whole.soft.at(0).first));
  EXPECT_TRUE(std::equal(beginning.tokens.begin(), beginning.tokens.end(), whole.tokens.begin()));
  EXPECT_TRUE(beginning.soft.empty());
  EXPECT_EQ(answer.started().cached_tokens(), 17u + 3u);
  EXPECT_EQ(answer.finished().usage().cached_tokens(), 17u + 3u);
}

TEST_F(DecoderThatReadsAhead, ReadsTheSegmentsOfASoundAsTheyCome) {
  encoder_.rows = 135;
  encoder_.segments = {130, 5};
  encoder_.encode_audio = [this](grpc::ServerContext*, const v1::EncodeAudioRequest*,
                                 FakeEncoderService::AudioWriter* writer) {
    using Response = v1::EncodeAudioResponse;
    writer->Write(encoder_.Header<Response>());
    writer->Write(encoder_.Rows<Response>(0, 132));
    gate_.WaitForNotification();
    writer->Write(encoder_.Rows<Response>(132, 3));
    writer->Write(encoder_.Summary<Response>(135));
    return grpc::Status::OK;
  };
  Answer answer;
  std::thread client([&] {
    answer = Generate(Parse("raw { parts { media { data: 'fLaC' } } parts { text: 'Hi' } }"));
  });
  const Prompt beginning = WaitForAhead().beginning.prompt;
  gate_.Notify();
  client.join();
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  const Prompt whole = engine_.last().prompt;
  ASSERT_THAT(whole.soft, SizeIs(2));
  ASSERT_THAT(beginning.soft, SizeIs(1));
  EXPECT_EQ(beginning.soft[0].rows, 130);
  EXPECT_EQ(beginning.soft[0].name, whole.soft[0].name);
  ASSERT_THAT(*beginning.soft[0].values, SizeIs(130 * 4));
  EXPECT_EQ(beginning.soft[0].values->back(), 129);
  EXPECT_EQ(static_cast<int>(beginning.tokens.size()), beginning.soft[0].first + 130);
  EXPECT_TRUE(std::equal(beginning.tokens.begin(), beginning.tokens.end(), whole.tokens.begin()));
}

TEST_F(DecoderThatReadsAhead, ReadsNothingAheadOfLittleOrForNobody) {
  gate_.Notify();
  ASSERT_TRUE(Generate(Request(100)).status.ok());
  v1::GenerateRequest alone = Request(140);
  alone.set_no_prefix_cache(true);
  ASSERT_TRUE(Generate(alone).status.ok());
  EXPECT_TRUE(engine_.ahead().empty());
}

TEST_F(DecoderThatReadsAhead, StopsWhenTheClientLeaves) {
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request(140));
  const FakeEngine::Ahead ahead = WaitForAhead();
  context.TryCancel();
  while (!engine_.IsCancelled(ahead.handle)) absl::SleepFor(absl::Milliseconds(1));
  gate_.Notify();
  reader->Finish();
}

}  // namespace
}  // namespace softsplice
