// The encoder service over a real socket, with an encoder that does as the test says.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/gguf/half.h"
#include "common/hash/crc32c.h"
#include "common/server/server.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/server/service.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

constexpr int kDim = 2560;

Values Shared(std::vector<float> values) {
  return std::make_shared<const std::vector<float>>(std::move(values));
}

float Value(size_t i) { return static_cast<float>(i % 1999) / 64.f - 3.25f; }

// Gives what the budget says; with `hold`, only once the client has cancelled.
class FakeEncoder final : public Encoder {
 public:
  FakeEncoder() {
    info_ = {.model_name = "fake",
             .backend = "none",
             .dim = kDim,
             .has_image_tower = true,
             .has_audio_tower = true};
    info_.fingerprint.fill(7);
  }
  ~FakeEncoder() override {
    if (worker_.joinable()) worker_.join();
  }

  void EncodeImage(ImageJob job, ImageDone done) override {
    last = job;
    if (!error.ok()) return done(error);
    if (worker_.joinable()) worker_.join();
    worker_ = std::thread([this, job = std::move(job), done = std::move(done)] {
      while (hold && !job.cancel->cancelled()) absl::SleepFor(absl::Milliseconds(1));
      done(hold ? absl::StatusOr<EncodedImage>(absl::CancelledError("cancelled")) : Image(job));
      ended = true;
    });
  }
  // As many segments as `segments` says, each of `segment_rows`; the next one once it is asked for.
  void EncodeAudio(AudioJob job, RecordingCallbacks callbacks) override {
    last_audio = job;
    if (!error.ok()) return callbacks.done(error, {});
    RecordingLayout layout{.rows = segments * segment_rows, .dim = kDim};
    layout.content_digest.fill(9);
    for (int i = 0; i < segments; ++i) {
      layout.segments.push_back(
          {i * segment_rows, segment_rows, i * absl::Seconds(30), absl::Milliseconds(29'999.9375)});
    }
    callbacks.layout(layout);
    if (job.header_only) return callbacks.done(absl::OkStatus(), {});
    Segment(std::make_shared<RecordingCallbacks>(std::move(callbacks)), 0);
  }
  // Two frames of a row, and one segment.
  void EncodeVideo(VideoJob job, RecordingCallbacks callbacks) override {
    last_video = job;
    if (!error.ok()) return callbacks.done(error, {});
    callbacks.layout({.rows = 3,
                      .dim = kDim,
                      .frames = {{0, 1, absl::ZeroDuration()}, {1, 1, absl::Milliseconds(1500)}},
                      .segments = {{2, 1, absl::ZeroDuration(), absl::Seconds(3)}},
                      .frame = Layout(job.max_soft_tokens),
                      .duration = absl::Seconds(3)});
    for (int i = 0; i < 3 && !job.header_only; ++i) {
      callbacks.rows(Shared(std::vector<float>(kDim, static_cast<float>(i))), nullptr);
    }
    callbacks.done(absl::OkStatus(), {});
  }
  void Segment(const std::shared_ptr<RecordingCallbacks>& to, int index) {
    if (last_audio.cancel->cancelled()) return to->done(absl::CancelledError("cancelled"), {});
    segments_made = index + 1;
    std::vector<float> values(static_cast<size_t>(segment_rows) * kDim);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = Value(i + static_cast<size_t>(index) * values.size());
    }
    if (index == 0) values[0] = first;
    if (index == fails_at) return to->done(absl::InternalError("a segment failed"), {});
    if (index + 1 < segments) {
      return to->rows(Shared(std::move(values)), [this, to, index] { Segment(to, index + 1); });
    }
    to->rows(Shared(std::move(values)), nullptr);
    to->done(absl::OkStatus(), {.forward = absl::Milliseconds(1250)});
  }
  const EncoderInfo& info() const override { return info_; }
  EncoderLoadFigures load() const override {
    return {.queued = 3,
            .encoding = 1,
            .decoding = 2,
            .parked = 4,
            .expected_wait = absl::Seconds(12),
            .cache_bytes = uint64_t{5} << 32,
            .cache_hits = 6,
            .cache_misses = 7};
  }
  absl::Duration last_step() const override { return absl::ZeroDuration(); }
  absl::Status health() const override { return absl::OkStatus(); }
  void Shutdown() override {}

  absl::Status error;
  float first = Value(0);  // number of all rows
  std::atomic<bool> hold = false;
  std::atomic<bool> ended = false;
  ImageJob last;
  AudioJob last_audio;
  VideoJob last_video;
  int segments = 3;
  int segment_rows = 750;
  int fails_at = -1;
  std::atomic<int> segments_made = 0;

 private:
  static ImageLayout Layout(int rows) {
    return {.rows = rows,
            .grid_rows = 1,
            .grid_columns = rows,
            .source_width = 640,
            .source_height = 480,
            .resized_width = 48,
            .resized_height = 96,
            .max_soft_tokens = rows};
  }
  EncodedImage Image(const ImageJob& job) const {
    EncodedImage image{.layout = Layout(job.max_soft_tokens), .dim = kDim};
    image.content_digest.fill(9);
    image.timings.forward = absl::Milliseconds(1250);
    if (job.header_only) return image;
    std::vector<float> values(static_cast<size_t>(image.layout.rows) * kDim);
    for (size_t i = 0; i < values.size(); ++i) values[i] = Value(i);
    values[0] = first;
    image.values = Shared(std::move(values));
    return image;
  }

  EncoderInfo info_;
  std::thread worker_;
};

class EncoderService : public testing::Test {
 protected:
  EncoderService() {
    const std::string address = absl::StrCat("unix:", testing::TempDir(), "/enc", getpid());
    auto server = Server::Start({.listen = address}, border_, {MakeEncoderService(context_)});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    // As a default client: no options at all.
    stub_ = v1::EncoderService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }

  // All messages of a call.
  std::vector<v1::EncodeImageResponse> Encode(const v1::EncodeImageRequest& request,
                                              grpc::Status* status) {
    grpc::ClientContext context;
    auto reader = stub_->EncodeImage(&context, request);
    std::vector<v1::EncodeImageResponse> messages;
    v1::EncodeImageResponse message;
    while (reader->Read(&message)) messages.push_back(message);
    *status = reader->Finish();
    return messages;
  }

  const Logger logger_{LogFormat::kText, LogLevel::kError};
  // Before what may hold calls.
  Metrics metrics_;
  const CallMetrics call_metrics_{metrics_, EncoderServiceDescriptor()};
  const EncoderMetrics encoder_metrics_{metrics_};
  Border border_{{}};
  FakeEncoder encoder_;
  Workers workers_{1};
  const Calls calls_{logger_, border_, workers_, call_metrics_};
  const EncoderContext context_{.encoder = encoder_,
                                .options = {.max_media_bytes = 123,
                                            .max_image_pixels = 456,
                                            .max_audio_duration = absl::Seconds(90),
                                            .max_video_duration = absl::Seconds(70),
                                            .ffmpeg = "softsplice-ffmpeg",
                                            .max_queue = 5,
                                            .cache_bytes = 789},
                                .calls = calls_,
                                .metrics = encoder_metrics_};
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::EncoderService::Stub> stub_;
};

v1::EncodeImageRequest Request(int budget, v1::DataType type = v1::DATA_TYPE_UNSPECIFIED) {
  v1::EncodeImageRequest request;
  request.set_data("picture");
  request.set_max_soft_tokens(budget);
  request.set_data_type(type);
  return request;
}

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
