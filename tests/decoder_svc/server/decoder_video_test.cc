// Videos in the requests of the decoder service.
#include <cstring>
#include <string>

#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

using testing::SizeIs;

constexpr char kVideoChat[] =
    "chat { messages { role: ROLE_USER parts { media { data: 'x' mime_type: 'video/mp4' "
    "max_soft_tokens: 140 max_frames: 7 without_sound: true } } parts { text: 'Hi' } } }";

TEST_F(DecoderService, PutsTimesBetweenTheFramesOfAVideoAndItsSoundBehind) {
  engine_.script = {10};
  encoder_.frames = {1, 1, 1};
  encoder_.segments = {1, 1};
  v1::EncodeVideoRequest asked;
  encoder_.encode_video = [&](grpc::ServerContext*, const v1::EncodeVideoRequest* request,
                              FakeEncoderService::VideoWriter* writer) {
    asked = *request;
    return encoder_.Good(*request, writer);
  };
  const v1::GenerateRequest request = Parse(kVideoChat);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(asked.max_soft_tokens(), 140u);
  EXPECT_EQ(asked.max_frames(), 7u);
  EXPECT_TRUE(asked.without_sound());
  EXPECT_EQ(answer.started().media(0).header().video().frames_size(), 3);
  const Prompt prompt = engine_.last().prompt;
  ASSERT_THAT(prompt.soft, SizeIs(5));
  for (int i = 0; i < 5; ++i) EXPECT_EQ((*prompt.soft[i].values)[0], i);
  v1::CountTokensRequest count;
  count.set_include_token_ids(true);
  count.set_include_rendered(true);
  *count.mutable_chat() = request.chat();
  v1::CountTokensResponse response;
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  EXPECT_EQ(response.tokens(), prompt.tokens.size());
  EXPECT_THAT(response.token_ids(), testing::ElementsAreArray(prompt.tokens));
  EXPECT_EQ(response.rendered(),
            "<bos><|turn>user\n00:00 <|image>… 1 soft tokens …<image|> 00:31 <|image>… 1 soft "
            "tokens …<image|> 01:02 <|image>… 1 soft tokens …<image|><|audio>… 1 soft tokens …"
            "<audio|><|audio>… 1 soft tokens …<audio|>Hi<turn|>\n<|turn>model\n");
}

TEST_F(DecoderService, ASilentVideoHasNoMarkersOfASound) {
  encoder_.frames = {2, 3};
  v1::CountTokensRequest count;
  count.set_include_rendered(true);
  *count.mutable_chat() = Parse(kVideoChat).chat();
  v1::CountTokensResponse response;
  ASSERT_EQ(Count(count, &response), absl::OkStatus());
  EXPECT_EQ(response.rendered(),
            "<bos><|turn>user\n00:00 <|image>… 2 soft tokens …<image|> 00:31 <|image>… 3 soft "
            "tokens …<image|>Hi<turn|>\n<|turn>model\n");
}

TEST_F(DecoderService, RefusesOptionsOfVideosForOtherMedia) {
  for (const char* option : {"max_frames: 3", "without_sound: true"}) {
    const std::string name(option, strcspn(option, ":"));
    for (const char* data : {"fLaC", "picture"}) {
      ExpectError(
          Parse(absl::StrCat("raw { parts { media { data: '", data, "' ", option, " } } }")),
          absl::StatusCode::kInvalidArgument, absl::StrCat("raw.parts[0].media.", name));
    }
  }
}

}  // namespace
}  // namespace softsplice
