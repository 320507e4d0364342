// The encoder engine's sounds: segments, receivers that are slow or gone, refusals.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
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

constexpr char kPicture[] = "tests/data/demo/samples/circle-square.png";
constexpr char kSound[] = "tests/data/demo/samples/digits-314.wav";

TEST(EncodeAudio, EncodesASample) {
  const auto encoder = Load();
  EXPECT_TRUE(encoder->info().has_audio_tower);
  const Heard heard = Hear(*encoder, SoundJob());
  ASSERT_TRUE(heard.status.ok()) << heard.status;
  // 38202 samples: 238 frames.
  EXPECT_EQ(heard.layout.rows, 60);
  EXPECT_EQ(heard.layout.dim, 192);
  ASSERT_EQ(heard.layout.segments.size(), 1u);
  EXPECT_EQ(heard.layout.segments[0].duration, absl::Microseconds(38202 * 62.5));
  ASSERT_EQ(heard.segments.size(), 1u);
  EXPECT_EQ(heard.segments[0].size(), 60u * 192);
  EXPECT_TRUE(std::all_of(heard.segments[0].begin(), heard.segments[0].end(),
                          [](float v) { return std::isfinite(v); }));
  EXPECT_GT(heard.timings.preprocess, absl::ZeroDuration());
  EXPECT_GT(heard.timings.forward, absl::ZeroDuration());

  AudioJob header_only = SoundJob();
  header_only.header_only = true;
  const Heard header = Hear(*encoder, std::move(header_only));
  EXPECT_TRUE(header.status.ok());
  EXPECT_EQ(header.layout.rows, 60);
  EXPECT_EQ(header.layout.content_digest, heard.layout.content_digest);
  EXPECT_TRUE(header.segments.empty());
}

// Every piece of a long sound gives what it gives alone.
TEST(EncodeAudio, CutsLongSounds) {
  const auto encoder = Load();
  AudioJob whole = Pcm(61), third;
  third.mime_type = whole.mime_type;
  third.data = whole.data.substr(2 * 60 * kSampleRate);
  const Heard heard = Hear(*encoder, std::move(whole));
  ASSERT_TRUE(heard.status.ok()) << heard.status;
  ASSERT_EQ(heard.layout.segments.size(), 3u);
  EXPECT_EQ(heard.layout.rows, 750 + 750 + 25);
  EXPECT_EQ(heard.layout.segments[2].first_row, 1500);
  EXPECT_EQ(heard.layout.segments[2].start, absl::Seconds(60));
  ASSERT_EQ(heard.segments.size(), 3u);
  EXPECT_EQ(heard.values().size(), 1525u * 192);
  const Heard alone = Hear(*encoder, std::move(third));
  ASSERT_TRUE(alone.status.ok()) << alone.status;
  EXPECT_EQ(alone.segments[0], heard.segments[2]);
}

// Sounds and pictures, large ones between small ones, give what they give alone.
TEST(EncodeAudio, DoesNotMixJobs) {
  const auto encoder = Load();
  const std::vector<float> short_rows = Hear(*encoder, SoundJob()).values();
  const auto picture = Encode(*encoder, Sample());
  auto first = SubmitSound(*encoder, SoundJob());
  auto second = Submit(*encoder, Sample(1120));
  auto third = SubmitSound(*encoder, Pcm(40));
  auto fourth = Submit(*encoder, Sample());
  auto fifth = SubmitSound(*encoder, SoundJob());
  EXPECT_EQ(first.get().values(), short_rows);
  EXPECT_TRUE(second.get().ok());
  EXPECT_EQ(third.get().segments.size(), 2u);
  EXPECT_EQ(*fourth.get()->values, *picture->values);
  EXPECT_EQ(fifth.get().values(), short_rows);
}

TEST(EncodeAudio, AnswersAHundredSoundsOneAfterAnother) {
  const auto encoder = Load();
  const std::vector<float> rows = Hear(*encoder, SoundJob()).values();
  for (int i = 0; i < 100; ++i) {
    const Heard heard = Hear(*encoder, i % 2 ? SoundJob() : Pcm(0.02 * (i + 1)));
    ASSERT_TRUE(heard.status.ok()) << i << heard.status;
    if (i % 2) {
      EXPECT_EQ(heard.values(), rows);
    }
  }
}

TEST(EncodeAudio, TellsWhatItEncodedByItsDigest) {
  const auto encoder = Load();
  const auto digest = [&](AudioJob job) {
    job.header_only = true;
    return Hear(*encoder, std::move(job)).layout.content_digest;
  };
  const Digest sound = digest(SoundJob()), pcm = digest(Pcm(1));
  EXPECT_EQ(sound, digest(SoundJob()));
  AudioJob named = SoundJob();
  named.mime_type = "audio/wav";
  EXPECT_EQ(sound, digest(std::move(named)));
  EXPECT_NE(sound, pcm);
  AudioJob other = Pcm(1);
  other.mime_type = "audio/L16;rate=8000";
  EXPECT_NE(pcm, digest(std::move(other)));
  const auto max = Load({.mel_floor = MelFloor::kMax});
  EXPECT_NE(max->info().fingerprint, encoder->info().fingerprint);
  EXPECT_NE(Hear(*max, SoundJob()).values(), Hear(*encoder, SoundJob()).values());
}

TEST(EncodeAudio, RefusesBadSoundsAndGoesOn) {
  const auto encoder = Load({.max_media_bytes = 1 << 20, .max_audio_duration = absl::Seconds(10)});
  const auto refused = [&](AudioJob job, absl::StatusCode code, const std::string& message) {
    const Heard heard = Hear(*encoder, std::move(job));
    EXPECT_EQ(heard.status.code(), code) << heard.status;
    EXPECT_THAT(std::string(heard.status.message()), HasSubstr(message));
    EXPECT_TRUE(heard.segments.empty());
    EXPECT_EQ(heard.layout.rows, 0);
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  refused({.data = ""}, invalid, "empty");
  refused({.data = ReadFile(kPicture)}, invalid, "look like PNG");
  refused({.data = ReadFile(kSound), .mime_type = "audio/ogg"}, invalid, "contradicts");
  refused(Pcm(0.01), invalid, "160 samples at 16 kHz");
  refused({.data = ReadFile("tests/data/audio/nan.wav")}, invalid, "NaN");
  refused(Pcm(10.1), absl::StatusCode::kResourceExhausted, "at most 10s is allowed");
  refused({.data = std::string((1 << 20) + 1, 'x')}, absl::StatusCode::kResourceExhausted,
          "at most 1048576");
  EXPECT_TRUE(Hear(*encoder, Pcm(10)).status.ok());
  // Silence and a click are sounds.
  AudioJob silence = Pcm(1);
  silence.data.assign(silence.data.size(), '\0');
  EXPECT_TRUE(Hear(*encoder, silence).status.ok());
  silence.data.replace(16000, 320, std::string(320, '\x7f'));
  EXPECT_TRUE(Hear(*encoder, std::move(silence)).status.ok());
}

void AwaitParked(const Encoder& encoder, int count) {
  for (int i = 0; i < 10'000 && encoder.load().parked != count; ++i) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(encoder.load().parked, count);
}

TEST(EncodeAudio, WaitsForTheReceiverWhileOthersGoOn) {
  const auto encoder = Load({.max_queue = 2});
  SlowReceiver receiver;
  encoder->EncodeAudio(Pcm(31), receiver.callbacks());
  std::function<void()> next = receiver.parked.get_future().get();
  EXPECT_TRUE(Encode(*encoder, Sample()).ok());
  EXPECT_EQ(receiver.segments, 1);
  // It keeps its place in the queue.
  EXPECT_EQ(encoder->load().parked, 1);
  Holder holder(*encoder);
  auto waiting = Submit(*encoder, Sample());
  EXPECT_EQ(Encode(*encoder, Sample()).status().code(), absl::StatusCode::kResourceExhausted);
  next();
  next = nullptr;
  EXPECT_EQ(encoder->load().parked, 0);
  holder.go_on.Notify();
  EXPECT_TRUE(receiver.done.get_future().get().ok());
  EXPECT_EQ(receiver.segments, 2);
  EXPECT_TRUE(waiting.get().ok());
}

TEST(EncodeAudio, LetsACancelledSoundGoWhileItIsParked) {
  const auto encoder = Load({.max_queue = 1});
  SlowReceiver receiver;
  AudioJob job = Pcm(61);
  const std::shared_ptr<CancelToken> cancel = job.cancel;
  encoder->EncodeAudio(std::move(job), receiver.callbacks());
  const std::function<void()> next = receiver.parked.get_future().get();
  cancel->Cancel();
  auto done = receiver.done.get_future();
  ASSERT_TRUE(IsReady(done, std::chrono::seconds(30)));
  EXPECT_EQ(done.get().code(), absl::StatusCode::kCancelled);
  AwaitParked(*encoder, 0);
  next();
  EXPECT_TRUE(Encode(*encoder, Sample()).ok());
  EXPECT_EQ(receiver.segments, 1);
}

TEST(EncodeAudio, EndsBetweenSegmentsWhenNobodyWaits) {
  const auto encoder = Load();
  AudioJob job = Pcm(61);
  const std::shared_ptr<CancelToken> cancel = job.cancel;
  std::promise<absl::Status> done;
  int segments = 0;
  encoder->EncodeAudio(
      std::move(job),
      {.layout = [](const RecordingLayout&) {},
       .rows =
           [&](const Values&, const std::function<void()>& next) {
             ++segments;
             cancel->Cancel();
             next();
           },
       .done = [&](const absl::Status& status, const EncodeTimings&) { done.set_value(status); }});
  EXPECT_EQ(done.get_future().get().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(segments, 1);
}

// By the header where it tells; by decoding, but without the tower, where it doesn't.
TEST(EncodeAudio, TellsRowsWithoutTheTower) {
  const auto encoder = Load();
  const auto rows = [&](const std::string& name, bool header_only) {
    return Hear(*encoder,
                {.data = ReadFile("tests/data/audio/" + name), .header_only = header_only})
        .layout.rows;
  };
  const std::vector<std::string> names = {"s16-44k-stereo.flac", "piped-16k.flac", "u8-8k.wav",
                                          "opus-48k-stereo.opus", "vbr-no-xing.mp3"};
  std::vector<int> whole;
  for (const std::string& name : names) whole.push_back(rows(name, false));
  Holder holder(*encoder);
  for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(rows(names[i], true), whole[i]) << names[i];
  AudioJob job{.data = ReadFile("tests/data/audio/u8-8k.wav"), .header_only = true};
  auto at_once = SubmitSound(*encoder, std::move(job));
  EXPECT_TRUE(IsReady(at_once));
}

}  // namespace
}  // namespace softsplice
