// The encoder engine's videos: frames and sound as one stream of runs, what is asked for of them,
// refusals.
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "encoder_svc/encoder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/encoder_testing.h"
#include "tests/support/read_file.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::HasSubstr;

// Two seconds of 160x120 at 25 frames a second, with a sound; ten frames in one, with a sound.
constexpr char kShort[] = "tests/data/video/short.mp4", kFew[] = "tests/data/video/few.webm";

VideoJob Video(const std::string& path) { return {.data = ReadFile(path)}; }

class EncodeVideo : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.ffmpeg = SOFTSPLICE_FFMPEG_PROGRAM;
    if (options_.ffmpeg.empty()) GTEST_SKIP() << "this build has no softsplice-ffmpeg";
  }
  EncoderOptions options_;
};

TEST_F(EncodeVideo, GivesFramesAndThenTheSound) {
  const auto encoder = Load(options_);
  const Heard heard = Watch(*encoder, Video(kShort));
  ASSERT_TRUE(heard.status.ok()) << heard.status;
  const RecordingLayout& layout = heard.layout;
  ASSERT_EQ(layout.frames.size(), 32u);
  ASSERT_EQ(layout.segments.size(), 1u);
  EXPECT_EQ(layout.frame.source_width, 160);
  EXPECT_EQ(layout.frame.max_soft_tokens, 70);
  EXPECT_EQ(layout.frame.rows, 63);
  EXPECT_EQ(layout.segments[0].first_row, 32 * 63);
  EXPECT_EQ(layout.rows, 32 * 63 + layout.segments[0].rows);
  ASSERT_EQ(heard.segments.size(), 33u);
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(layout.frames[i].first_row, static_cast<int>(i) * 63);
    // Frame i * 50 / 32 of 25 a second.
    EXPECT_NEAR(absl::ToDoubleSeconds(layout.frames[i].time), static_cast<double>(i * 50 / 32) / 25,
                1e-3);
    EXPECT_EQ(heard.segments[i].size(), 63u * 192);
  }
  EXPECT_NE(heard.segments[0], heard.segments[31]);
  EXPECT_GT(heard.timings.forward, absl::ZeroDuration());
  EXPECT_GT(heard.timings.preprocess, absl::ZeroDuration());
}

// Nothing of the sound depends on the frames before it.
TEST_F(EncodeVideo, ItsSoundIsThatOfTheFileAlone) {
  const auto encoder = Load(options_);
  const Heard video = Watch(*encoder, Video(kFew));
  const Heard sound = Hear(*encoder, {.data = ReadFile(kFew), .mime_type = "audio/webm"});
  ASSERT_TRUE(sound.status.ok()) << sound.status;
  EXPECT_EQ(video.segments.back(), sound.segments[0]);
}

TEST_F(EncodeVideo, GivesWhatIsAskedFor) {
  const auto encoder = Load(options_);
  VideoJob job = Video(kFew);
  job.max_soft_tokens = 140;
  job.max_frames = 3;
  job.without_sound = true;
  const Heard heard = Watch(*encoder, job);
  ASSERT_TRUE(heard.status.ok()) << heard.status;
  EXPECT_EQ(heard.layout.frames.size(), 3u);
  EXPECT_EQ(heard.layout.frame.max_soft_tokens, 140);
  EXPECT_GT(heard.layout.frame.rows, 70);
  EXPECT_TRUE(heard.layout.segments.empty());
  EXPECT_EQ(heard.layout.rows, 3 * heard.layout.frame.rows);
  // All of those there are.
  EXPECT_EQ(Watch(*encoder, Video(kFew)).layout.frames.size(), 10u);
}

TEST_F(EncodeVideo, TellsRowsWithoutTheTowers) {
  const auto encoder = Load(options_);
  const Heard whole = Watch(*encoder, Video(kShort));
  Holder holder(*encoder);
  VideoJob job = Video(kShort);
  job.header_only = true;
  const Heard header = Watch(*encoder, job);
  ASSERT_TRUE(header.status.ok()) << header.status;
  EXPECT_TRUE(header.segments.empty());
  EXPECT_EQ(header.layout.rows, whole.layout.rows);
  EXPECT_EQ(header.layout.frames.size(), whole.layout.frames.size());
  EXPECT_EQ(header.layout.content_digest, whole.layout.content_digest);
}

TEST_F(EncodeVideo, IsKeptForThoseWhoAskForTheSame) {
  options_.cache_bytes = 64 << 20;
  const auto encoder = Load(options_);
  const Heard fresh = Watch(*encoder, Video(kFew));
  const Heard kept = Watch(*encoder, Video(kFew));
  EXPECT_TRUE(kept.timings.cache_hit);
  EXPECT_EQ(kept.segments, fresh.segments);
  VideoJob other = Video(kFew);
  other.max_frames = 9;
  EXPECT_FALSE(Watch(*encoder, other).timings.cache_hit);
  other = Video(kFew);
  other.without_sound = true;
  EXPECT_FALSE(Watch(*encoder, other).timings.cache_hit);
}

TEST_F(EncodeVideo, RefusesWhatItCantTakeAndGoesOn) {
  options_.max_video_duration = absl::Milliseconds(1500);
  options_.max_image_pixels = 160 * 120;
  const auto encoder = Load(options_);
  const auto refused = [&](VideoJob job, const std::string& reason, const std::string& message) {
    const absl::Status status = Watch(*encoder, std::move(job)).status;
    EXPECT_EQ(GetErrorDetail(status).reason, reason) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  VideoJob job = Video(kFew);
  job.max_frames = 257;
  refused(job, "INVALID_FIELD", "max_frames is 257; at most 256");
  job = Video(kFew);
  job.max_soft_tokens = 71;
  refused(job, "INVALID_FIELD", "max_soft_tokens is 71");
  refused({.data = "x"}, "INVALID_MEDIA", "not a video");
  refused(Video(kShort), "OVER_LIMIT", "longer than allowed");
  job = Video(kShort);
  job.data.resize(job.data.size() / 2);
  refused(job, "INVALID_MEDIA", "truncated");
  job = Video(kFew);
  job.deadline = absl::ZeroDuration();
  refused(job, "DEADLINE_EXCEEDED", "deadline");
  EXPECT_TRUE(Watch(*encoder, Video(kFew)).status.ok());
  options_.max_image_pixels = 160 * 120 - 1;
  EXPECT_THAT(std::string(Watch(*Load(options_), Video(kFew)).status.message()),
              HasSubstr("160x120 pixels"));
}

TEST_F(EncodeVideo, FitsIntoTheMemoryForDecoding) {
  options_.decode_memory = 130 << 20;
  const auto encoder = Load(options_);
  // The sound may be as long as any.
  const absl::Status status = Watch(*encoder, Video(kFew)).status;
  EXPECT_EQ(GetErrorDetail(status).reason, "OVER_LIMIT");
  EXPECT_THAT(std::string(status.message()), HasSubstr("decoding the video takes 2469"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 136314880 are allowed"));
  VideoJob job = Video(kFew);
  job.without_sound = true;
  const Heard heard = Watch(*encoder, job);
  EXPECT_TRUE(heard.status.ok()) << heard.status;
}

// It asks for all memory there is, of which a sound keeps some whose receiver takes its time.
TEST_F(EncodeVideo, LetsPicturesPassWhileItWaitsForMemory) {
  options_.decode_memory = 320 << 20;
  const auto encoder = Load(options_);
  SlowReceiver receiver;
  encoder->EncodeAudio(Pcm(31), receiver.callbacks());
  std::function<void()> next = receiver.parked.get_future().get();
  auto [video, callbacks] = Receiver();
  encoder->EncodeVideo(Video(kFew), std::move(callbacks));
  auto picture = Submit(*encoder, Sample());
  EXPECT_TRUE(IsReady(picture, std::chrono::seconds(30)));
  EXPECT_EQ(encoder->load().queued, 1);
  EXPECT_FALSE(IsReady(video));
  next();
  EXPECT_TRUE(receiver.done.get_future().get().ok());
  const Heard seen = video.get();
  EXPECT_TRUE(seen.status.ok()) << seen.status;
}

TEST_F(EncodeVideo, EndsBetweenFramesWhenNobodyWaits) {
  const auto encoder = Load(options_);
  VideoJob job = Video(kShort);
  const std::shared_ptr<CancelToken> cancel = job.cancel;
  std::promise<absl::Status> done;
  int runs = 0;
  encoder->EncodeVideo(
      std::move(job),
      {.layout = [](const RecordingLayout&) {},
       .rows =
           [&](const Values&, const std::function<void()>& next) {
             ++runs;
             cancel->Cancel();
             next();
           },
       .done = [&](const absl::Status& status, const EncodeTimings&) { done.set_value(status); }});
  EXPECT_EQ(done.get_future().get().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace softsplice
