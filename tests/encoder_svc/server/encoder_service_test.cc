// The encoder service's pictures, and what all its calls share.
#include <bit>
#include <cstring>

#include "absl/time/clock.h"
#include "common/gguf/half.h"
#include "common/hash/crc32c.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/server/service_testing.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

TEST_F(EncoderService, StreamsHeaderChunksSummary) {
  struct Case {
    v1::DataType asked, given;
    size_t width;
  };
  for (const Case& c : {Case{v1::DATA_TYPE_UNSPECIFIED, v1::DATA_TYPE_BF16, 2},
                        Case{v1::DATA_TYPE_F16, v1::DATA_TYPE_F16, 2},
                        Case{v1::DATA_TYPE_F32, v1::DATA_TYPE_F32, 4}}) {
    grpc::Status status;
    const auto messages = Encode(Request(1120, c.asked), &status);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_GE(messages.size(), 4u);
    const v1::SoftTokensHeader& header = messages.front().header();
    EXPECT_EQ(header.modality(), v1::MODALITY_IMAGE);
    EXPECT_EQ(header.rows(), 1120u);
    EXPECT_EQ(header.dim(), 2560u);
    EXPECT_EQ(header.data_type(), c.given);
    EXPECT_EQ(header.encoder_fingerprint(), std::string(32, 7));
    EXPECT_EQ(header.content_digest(), std::string(32, 9));
    EXPECT_EQ(header.image().source_width(), 640u);
    EXPECT_EQ(header.image().resized_height(), 96u);

    std::string data;
    for (size_t i = 1; i + 1 < messages.size(); ++i) {
      ASSERT_TRUE(messages[i].has_rows());
      EXPECT_LE(messages[i].rows().data().size(), 1u << 20);
      EXPECT_EQ(messages[i].rows().data().size() % (kDim * c.width), 0u);
      EXPECT_EQ(messages[i].rows().first_row(), data.size() / (kDim * c.width));
      data += messages[i].rows().data();
    }
    ASSERT_EQ(data.size(), 1120 * kDim * c.width);
    EXPECT_EQ(messages.back().summary().crc32c(), Crc32c(data));
    EXPECT_EQ(messages.back().summary().timings().forward().seconds(), 1);
    EXPECT_EQ(messages.back().summary().timings().forward().nanos(), 250'000'000);
    for (size_t i = 0; i < 1120 * kDim; i += 997) {
      uint32_t bits = 0;
      std::memcpy(&bits, data.data() + i * c.width, c.width);
      const float value = c.width == 4                   ? std::bit_cast<float>(bits)
                          : c.given == v1::DATA_TYPE_F16 ? HalfToFloat(bits)
                                                         : BF16ToFloat(bits);
      EXPECT_NEAR(value, Value(i), c.width == 4 ? 0 : 1.f / 16) << i;
    }
  }
}

TEST_F(EncoderService, HeaderOnlySendsNoRows) {
  v1::EncodeImageRequest request = Request(280);
  request.set_header_only(true);
  grpc::Status status;
  const auto messages = Encode(request, &status);
  ASSERT_TRUE(status.ok());
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].header().rows(), 280u);
  EXPECT_TRUE(messages[1].has_summary());
  EXPECT_TRUE(encoder_.last.header_only);
}

TEST_F(EncoderService, RefusesADataTypeItDoesNotKnow) {
  grpc::Status status;
  const auto messages = Encode(Request(280, static_cast<v1::DataType>(9)), &status);
  EXPECT_TRUE(messages.empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(GetErrorDetail(FromGrpcStatus(status)).field, "data_type");
}

TEST_F(EncoderService, PassesTheEncodersErrorOn) {
  encoder_.error = MakeError(absl::StatusCode::kResourceExhausted, "full",
                             {.reason = "QUEUE_FULL", .retry_after = absl::Seconds(1)});
  grpc::Status status;
  EXPECT_TRUE(Encode(Request(280), &status).empty());
  EXPECT_EQ(FromGrpcStatus(status), encoder_.error);
  encoder_.error = absl::OkStatus();
  Encode(Request(70), &status);
  EXPECT_TRUE(status.ok());
}

TEST_F(EncoderService, PassesTheRequestOn) {
  v1::EncodeImageRequest request = Request(560);
  request.set_mime_type("image/png");
  grpc::ClientContext context;
  const absl::Duration deadline = SteadyNow() + absl::Seconds(30);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  auto reader = stub_->EncodeImage(&context, request);
  v1::EncodeImageResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(encoder_.last.data, "picture");
  EXPECT_EQ(encoder_.last.mime_type, "image/png");
  EXPECT_EQ(encoder_.last.max_soft_tokens, 560);
  EXPECT_LT(absl::AbsDuration(encoder_.last.deadline - deadline), absl::Seconds(2));
}

TEST_F(EncoderService, CancelReachesTheEncoder) {
  encoder_.hold = true;
  grpc::ClientContext context;
  auto reader = stub_->EncodeImage(&context, Request(70));
  absl::SleepFor(absl::Milliseconds(20));
  context.TryCancel();
  v1::EncodeImageResponse message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  for (int i = 0; i < 5000 && !encoder_.ended; ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(encoder_.ended);
}

TEST_F(EncoderService, ReturnsASaneRequestId) {
  for (const std::string id : {"my-id.1", "not sane!"}) {
    grpc::ClientContext context;
    context.AddMetadata("x-request-id", id);
    auto reader = stub_->EncodeImage(&context, Request(70));
    v1::EncodeImageResponse message;
    while (reader->Read(&message)) {
    }
    EXPECT_TRUE(reader->Finish().ok());
    const auto found = context.GetServerInitialMetadata().find("x-request-id");
    ASSERT_NE(found, context.GetServerInitialMetadata().end());
    const std::string returned(found->second.data(), found->second.size());
    if (id == "my-id.1") {
      EXPECT_EQ(returned, id);
    } else {
      EXPECT_EQ(returned.size(), 16u);
    }
  }
}

TEST_F(EncoderService, TellsWhatItIs) {
  grpc::ClientContext context;
  v1::GetEncoderInfoResponse info;
  ASSERT_TRUE(stub_->GetEncoderInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.model_name(), "fake");
  EXPECT_EQ(info.dim(), 2560u);
  EXPECT_EQ(info.encoder_fingerprint(), std::string(32, 7));
  EXPECT_TRUE(info.has_image_tower());
  EXPECT_TRUE(info.has_audio_tower());
  EXPECT_EQ(info.limits().max_audio_duration().seconds(), 90);
  EXPECT_EQ(info.limits().max_video_duration().seconds(), 70);
  EXPECT_EQ(info.limits().max_media_bytes(), 123u);
  EXPECT_EQ(info.limits().max_image_pixels(), 456u);
  EXPECT_EQ(info.limits().max_queue(), 5u);
  EXPECT_EQ(info.limits().cache_bytes(), 789u);
  EXPECT_EQ(info.load().queued(), 3u);
  EXPECT_EQ(info.load().encoding(), 1u);
  EXPECT_EQ(info.load().decoding(), 2u);
  EXPECT_EQ(info.load().parked(), 4u);
  EXPECT_EQ(info.load().cache_bytes(), uint64_t{5} << 32);
  EXPECT_EQ(info.load().cache_hits(), 6u);
  EXPECT_EQ(info.load().cache_misses(), 7u);
  EXPECT_EQ(info.load().expected_wait().seconds(), 12);
}

}  // namespace
}  // namespace softsplice
