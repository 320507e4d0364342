// The encoder service's sounds and videos.
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/hash/crc32c.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/server/service_testing.h"

namespace softsplice {
namespace {

v1::EncodeAudioRequest AudioRequest(v1::DataType type = v1::DATA_TYPE_UNSPECIFIED) {
  v1::EncodeAudioRequest request;
  request.set_data("sound");
  request.set_mime_type("audio/wav");
  request.set_data_type(type);
  return request;
}

TEST_F(EncoderService, StreamsTheSegmentsOfASound) {
  grpc::ClientContext context;
  auto reader = stub_->EncodeAudio(&context, AudioRequest(v1::DATA_TYPE_F32));
  v1::EncodeAudioResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const v1::SoftTokensHeader header = message.header();
  EXPECT_EQ(header.modality(), v1::MODALITY_AUDIO);
  EXPECT_EQ(header.rows(), 2250u);
  EXPECT_EQ(header.encoder_fingerprint(), std::string(32, 7));
  EXPECT_EQ(header.content_digest(), std::string(32, 9));
  ASSERT_EQ(header.audio().segments_size(), 3);
  EXPECT_EQ(header.audio().segments(2).first_row(), 1500u);
  EXPECT_EQ(header.audio().segments(2).rows(), 750u);
  EXPECT_EQ(header.audio().segments(2).start().seconds(), 60);
  EXPECT_EQ(header.audio().segments(2).duration().nanos(), 999'937'500);
  std::string data;
  while (reader->Read(&message) && message.has_rows()) {
    EXPECT_LE(message.rows().data().size(), 1u << 20);
    EXPECT_EQ(message.rows().first_row(), data.size() / (kDim * 4));
    data += message.rows().data();
  }
  ASSERT_TRUE(message.has_summary());
  EXPECT_EQ(message.summary().crc32c(), Crc32c(data));
  EXPECT_EQ(message.summary().timings().forward().seconds(), 1);
  ASSERT_EQ(data.size(), size_t{2250} * kDim * 4);
  for (size_t i = 0; i < size_t{2250} * kDim; i += 997) {
    float value = 0;
    std::memcpy(&value, data.data() + i * 4, 4);
    ASSERT_EQ(value, Value(i)) << i;
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(encoder_.last_audio.data, "sound");
  EXPECT_EQ(encoder_.last_audio.mime_type, "audio/wav");
}

// A client that does not read holds up the encoder's segments, not the server's memory.
TEST_F(EncoderService, MakesNoMoreSegmentsThanTheClientTakes) {
  encoder_.segments = 20;
  grpc::ClientContext context;
  auto reader = stub_->EncodeAudio(&context, AudioRequest(v1::DATA_TYPE_F32));
  v1::EncodeAudioResponse message;
  ASSERT_TRUE(reader->Read(&message));
  absl::SleepFor(absl::Milliseconds(300));
  // Two lie in the call; flow control lets some of the first ones go.
  EXPECT_LE(encoder_.segments_made, 5);
  EXPECT_GE(border_.live_bytes(), 2u * 750 * kDim * sizeof(float));
  int rows = 0;
  while (reader->Read(&message) && message.has_rows()) {
    rows += static_cast<int>(message.rows().data().size() / (kDim * 4));
  }
  EXPECT_EQ(rows, 20 * 750);
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(encoder_.segments_made, 20);
  for (int i = 0; i < 3000 && border_.live_bytes() > 0; ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(border_.live_bytes(), 0u);
}

TEST_F(EncoderService, EndsASoundWhoseClientIsGone) {
  encoder_.segments = 20;
  {
    grpc::ClientContext context;
    auto reader = stub_->EncodeAudio(&context, AudioRequest(v1::DATA_TYPE_F32));
    v1::EncodeAudioResponse message;
    ASSERT_TRUE(reader->Read(&message));
    context.TryCancel();
    while (reader->Read(&message)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_LT(encoder_.segments_made, 20);
  encoder_.segments = 1;
  grpc::ClientContext context;
  auto reader = stub_->EncodeAudio(&context, AudioRequest());
  v1::EncodeAudioResponse message;
  EXPECT_TRUE(reader->Read(&message));
  context.TryCancel();
}

TEST_F(EncoderService, EndsASoundWithTheErrorOfASegment) {
  encoder_.fails_at = 1;
  grpc::ClientContext context;
  auto reader = stub_->EncodeAudio(&context, AudioRequest());
  v1::EncodeAudioResponse message;
  while (reader->Read(&message)) EXPECT_FALSE(message.has_summary());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INTERNAL);
}

// Finite for the model, infinite in the type that was asked for.
TEST_F(EncoderService, SendsNoInfinities) {
  encoder_.first = 70'000;
  grpc::Status status;
  for (const auto& message : Encode(Request(70, v1::DATA_TYPE_F16), &status)) {
    EXPECT_TRUE(message.has_header());
  }
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(GetErrorDetail(FromGrpcStatus(status)).field, "data_type");
  Encode(Request(70, v1::DATA_TYPE_BF16), &status);
  EXPECT_TRUE(status.ok()) << status.error_message();
  grpc::ClientContext context;
  auto reader = stub_->EncodeAudio(&context, AudioRequest(v1::DATA_TYPE_F16));
  v1::EncodeAudioResponse message;
  while (reader->Read(&message)) EXPECT_TRUE(message.has_header());
  EXPECT_EQ(GetErrorDetail(FromGrpcStatus(reader->Finish())).field, "data_type");
  EXPECT_EQ(encoder_.segments_made, 1);
}

TEST_F(EncoderService, StreamsTheFramesOfAVideoAndItsSound) {
  v1::EncodeVideoRequest request;
  request.set_data("video");
  request.set_mime_type("video/mp4");
  request.set_max_soft_tokens(140);
  request.set_max_frames(0xffffffff);
  request.set_without_sound(true);
  grpc::ClientContext context;
  auto reader = stub_->EncodeVideo(&context, request);
  v1::EncodeVideoResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const v1::SoftTokensHeader header = message.header();
  EXPECT_EQ(header.modality(), v1::MODALITY_VIDEO);
  EXPECT_EQ(header.rows(), 3u);
  const v1::VideoLayout& video = header.video();
  ASSERT_EQ(video.frames_size(), 2);
  EXPECT_EQ(video.frames(1).first_row(), 1u);
  EXPECT_EQ(video.frames(1).rows(), 1u);
  EXPECT_EQ(video.frames(1).time().seconds(), 1);
  EXPECT_EQ(video.frames(1).time().nanos(), 500'000'000);
  ASSERT_EQ(video.sound_size(), 1);
  EXPECT_EQ(video.sound(0).first_row(), 2u);
  EXPECT_EQ(video.frame().source_width(), 640u);
  EXPECT_EQ(video.frame().max_soft_tokens(), 140u);
  EXPECT_EQ(video.duration().seconds(), 3);
  std::string data;
  while (reader->Read(&message) && message.has_rows()) data += message.rows().data();
  EXPECT_EQ(data.size(), size_t{3} * kDim * 2);
  EXPECT_EQ(message.summary().crc32c(), Crc32c(data));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(encoder_.last_video.data, "video");
  EXPECT_EQ(encoder_.last_video.mime_type, "video/mp4");
  EXPECT_EQ(encoder_.last_video.max_soft_tokens, 140);
  EXPECT_EQ(encoder_.last_video.max_frames, std::numeric_limits<int>::max());
  EXPECT_TRUE(encoder_.last_video.without_sound);
}

TEST_F(EncoderService, SoundsHaveHeaderOnlyAndTheSameErrors) {
  const auto call = [&](const v1::EncodeAudioRequest& request) {
    grpc::ClientContext context;
    auto reader = stub_->EncodeAudio(&context, request);
    v1::EncodeAudioResponse message;
    int messages = 0;
    while (reader->Read(&message)) ++messages;
    return std::pair(messages, FromGrpcStatus(reader->Finish()));
  };
  v1::EncodeAudioRequest request = AudioRequest();
  request.set_header_only(true);
  EXPECT_EQ(call(request), std::pair(2, absl::OkStatus()));
  EXPECT_EQ(GetErrorDetail(call(AudioRequest(static_cast<v1::DataType>(9))).second).field,
            "data_type");
  encoder_.error = MakeError(absl::StatusCode::kResourceExhausted, "full",
                             {.reason = "QUEUE_FULL", .retry_after = absl::Seconds(1)});
  EXPECT_EQ(call(AudioRequest()), std::pair(0, encoder_.error));
}

}  // namespace
}  // namespace softsplice
