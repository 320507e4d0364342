// The encoder engine on the demo model: answers, refusals, and its queue.
#include "encoder_svc/encoder.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/gguf/file.h"
#include "common/hash/sha256.h"
#include "common/status/error.h"
#include "encoder_svc/fingerprint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/png_writer.h"
#include "tests/support/read_file.h"
#include "tests/support/short_memory.h"
#include "tests/support/synth_sound.h"

namespace softsplice {
namespace {

using ::softsplice::testing::BlackPng;
using ::softsplice::testing::ReadFile;
using ::testing::HasSubstr;

constexpr char kMmproj[] = "tests/data/demo/demo-mmproj.gguf";
constexpr char kText[] = "tests/data/demo/demo-text.gguf";
constexpr char kSample[] = "tests/data/demo/samples/circle-square.png";

std::unique_ptr<Encoder> Load(EncoderOptions options = {}) {
  options.mmproj_path = kMmproj;
  options.backend.threads = 2;
  auto encoder = Encoder::Load(options);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return encoder.ok() ? *std::move(encoder) : nullptr;
}

std::future<absl::StatusOr<EncodedImage>> Submit(Encoder& encoder, ImageJob job) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<EncodedImage>>>();
  encoder.EncodeImage(std::move(job), [promise](absl::StatusOr<EncodedImage> result) {
    promise->set_value(std::move(result));
  });
  return promise->get_future();
}

absl::StatusOr<EncodedImage> Encode(Encoder& encoder, ImageJob job) {
  return Submit(encoder, std::move(job)).get();
}

ImageJob Sample(int max_soft_tokens = 70) {
  return {.data = ReadFile(kSample), .max_soft_tokens = max_soft_tokens};
}

TEST(Encoder, EncodesASample) {
  const auto encoder = Load();
  EXPECT_EQ(encoder->info().dim, 192);
  EXPECT_TRUE(encoder->info().has_image_tower);
  EXPECT_THAT(encoder->info().backend, HasSubstr("cpu"));
  const auto image = Encode(*encoder, Sample(0));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->max_soft_tokens, 280);
  EXPECT_EQ(image->rows, image->grid_rows * image->grid_columns);
  EXPECT_EQ(image->resized_width, image->grid_columns * 48);
  EXPECT_EQ(image->resized_height, image->grid_rows * 48);
  EXPECT_GT(image->rows, 200);
  EXPECT_LE(image->rows, 280);
  EXPECT_EQ(image->dim, 192);
  EXPECT_EQ(image->values.size(), static_cast<size_t>(image->rows) * 192);
  EXPECT_TRUE(std::all_of(image->values.begin(), image->values.end(),
                          [](float v) { return std::isfinite(v); }));
  EXPECT_GT(image->timings.forward, absl::ZeroDuration());
}

// The same picture gives the same rows and digest; another picture or budget another digest.
TEST(Encoder, TellsWhatItEncodedByItsDigest) {
  const auto encoder = Load();
  const auto first = Encode(*encoder, Sample());
  const auto again = Encode(*encoder, Sample());
  const auto finer = Encode(*encoder, Sample(140));
  const auto other = Encode(
      *encoder, {.data = ReadFile("tests/data/demo/samples/small.png"), .max_soft_tokens = 70});
  ASSERT_TRUE(first.ok() && again.ok() && finer.ok() && other.ok());
  EXPECT_EQ(first->values, again->values);
  EXPECT_EQ(first->content_digest, again->content_digest);
  EXPECT_NE(first->content_digest, finer->content_digest);
  EXPECT_NE(first->content_digest, other->content_digest);
}

TEST(Encoder, TellsTheSourceSizeAfterOrientation) {
  const auto encoder = Load();
  const auto image = Encode(
      *encoder, {.data = ReadFile("tests/data/image/orientation6.jpg"), .max_soft_tokens = 70});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->source_width, 23);
  EXPECT_EQ(image->source_height, 37);
  EXPECT_GT(image->grid_rows, image->grid_columns);
}

TEST(Encoder, HasAFingerprintOfWeightsAndSettings) {
  const auto encoder = Load(), same = Load(), quick = Load({.quick_gelu = true});
  EXPECT_EQ(encoder->info().fingerprint, same->info().fingerprint);
  EXPECT_NE(encoder->info().fingerprint, quick->info().fingerprint);
}

TEST(Fingerprint, SeesEveryByteAndTheVersion) {
  const auto tiny = gguf::File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  const auto demo = gguf::File::Open(kMmproj);
  ASSERT_TRUE(tiny.ok() && demo.ok());
  EXPECT_NE(Fingerprint(**tiny, "1"), Fingerprint(**demo, "1"));
  EXPECT_NE(Fingerprint(**tiny, "1"), Fingerprint(**tiny, "2"));
  EXPECT_EQ(Fingerprint(**tiny, "1"), Fingerprint(**tiny, "1"));

  const std::string bytes = ReadFile("tests/data/models/mmproj-tiny-F16.gguf");
  const gguf::Tensor& last = (*tiny)->tensors().back();
  for (const char* name : {"v.patch_embd.weight", "a.conv1d.0.weight", "a.blk.2.conv_dw.weight",
                           "a.blk.1.attn_q.input_min", "mm.a.input_projection.weight"}) {
    const gguf::Tensor* tensor = (*tiny)->FindOptional(name);
    ASSERT_NE(tensor, nullptr) << name;
    std::string other = bytes;
    const auto from_end = static_cast<size_t>(last.data + last.bytes - tensor->data);
    char& byte = other[other.size() - from_end];
    byte = static_cast<char>(byte ^ 1);
    const std::string path = ::testing::TempDir() + "fingerprint.gguf";
    std::ofstream(path, std::ios::binary) << other;
    const auto changed = gguf::File::Open(path);
    ASSERT_TRUE(changed.ok()) << changed.status();
    EXPECT_NE(*(*changed)->FindOptional(name)->data, *tensor->data) << name;
    EXPECT_NE(Fingerprint(**tiny, "1"), Fingerprint(**changed, "1")) << name;
  }
}

TEST(Encoder, RefusesBadRequestsAndGoesOn) {
  const auto encoder = Load({.max_media_bytes = 1 << 20, .max_image_pixels = 1 << 20});
  const auto refused = [&](ImageJob job, absl::StatusCode code, const std::string& message) {
    const auto image = Encode(*encoder, std::move(job));
    ASSERT_FALSE(image.ok()) << message;
    EXPECT_EQ(image.status().code(), code) << image.status();
    EXPECT_THAT(std::string(image.status().message()), HasSubstr(message));
  };
  refused({.data = ""}, absl::StatusCode::kInvalidArgument, "empty");
  refused({.data = "garbage"}, absl::StatusCode::kInvalidArgument, "not a picture");
  refused(Sample(100), absl::StatusCode::kInvalidArgument, "70, 140, 280, 560 or 1120");
  refused(Sample(-70), absl::StatusCode::kInvalidArgument, "max_soft_tokens is -70");
  refused({.data = ReadFile(kSample), .mime_type = "image/gif"}, absl::StatusCode::kInvalidArgument,
          "contradicts");
  refused({.data = std::string((1 << 20) + 1, 'x')}, absl::StatusCode::kResourceExhausted,
          "at most 1048576");
  EXPECT_TRUE(Encode(*encoder, Sample()).ok());
}

TEST(Encoder, AnswersExtremeSizesAsTheOfficialRule) {
  const auto encoder = Load();
  // 1 x 1 and 1 x 4000 pixels of a 24-bit BMP.
  const auto bmp = [](int width, int height) {
    const auto bytes = [](uint32_t v, int n) {
      std::string s;
      for (int i = 0; i < n; ++i) s.push_back(static_cast<char>(v >> (8 * i)));
      return s;
    };
    const auto w = static_cast<uint32_t>(width), h = static_cast<uint32_t>(height);
    const uint32_t size = (3 * w + 3) / 4 * 4 * h;
    return "BM" + bytes(54 + size, 4) + bytes(0, 4) + bytes(54, 4) + bytes(40, 4) + bytes(w, 4) +
           bytes(h, 4) + bytes(1, 2) + bytes(24, 2) + bytes(0, 4) + bytes(size, 4) +
           std::string(16, '\0') + std::string(size, '\x40');
  };
  const auto dot = Encode(*encoder, {.data = bmp(1, 1), .max_soft_tokens = 70});
  ASSERT_TRUE(dot.ok()) << dot.status();
  EXPECT_EQ(dot->rows, 64);
  const auto line = Encode(*encoder, {.data = bmp(1, 4000), .max_soft_tokens = 70});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->grid_columns, 1);
  EXPECT_EQ(line->grid_rows, 70);
}

// A job whose receiver holds the towers' thread until told otherwise.
struct Holder {
  absl::Notification started, go_on;

  explicit Holder(Encoder& encoder) {
    encoder.EncodeImage(Sample(), [this](const absl::StatusOr<EncodedImage>& image) {
      EXPECT_TRUE(image.ok()) << image.status();
      started.Notify();
      go_on.WaitForNotification();
    });
    started.WaitForNotification();
  }
  ~Holder() {
    if (!go_on.HasBeenNotified()) go_on.Notify();
  }
};

void AwaitQueued(const Encoder& encoder, int count) {
  bool seen = false;
  for (int i = 0; i < 10'000 && !seen; ++i) {
    seen = encoder.load().queued == count;
    if (!seen) absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_TRUE(seen) << count;
}

template <class Result>
bool IsReady(std::future<Result>& result, std::chrono::seconds within = std::chrono::seconds(0)) {
  return result.wait_for(within) == std::future_status::ready;
}

TEST(Encoder, RefusesWhenItsQueueIsFull) {
  const auto encoder = Load({.max_queue = 2});
  Holder holder(*encoder);
  auto second = Submit(*encoder, Sample()), third = Submit(*encoder, Sample());
  const auto refused = Encode(*encoder, Sample());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(refused.status()).reason, "QUEUE_FULL");
  EXPECT_GT(GetErrorDetail(refused.status()).retry_after, absl::ZeroDuration());
  EXPECT_GT(encoder->load().expected_wait, absl::ZeroDuration());
  holder.go_on.Notify();
  EXPECT_TRUE(second.get().ok());
  EXPECT_TRUE(third.get().ok());
  EXPECT_EQ(encoder->load().queued, 0);
  EXPECT_EQ(encoder->load().encoding, 0);
  EXPECT_EQ(encoder->load().expected_wait, absl::ZeroDuration());
}

TEST(Encoder, RefusesWhatWouldWaitTooLong) {
  const auto encoder = Load({.max_wait = absl::ZeroDuration()});
  Holder holder(*encoder);
  auto next = Submit(*encoder, Sample());
  const absl::Status refused = Encode(*encoder, Sample()).status();
  EXPECT_EQ(GetErrorDetail(refused).reason, "QUEUE_FULL") << refused;
  holder.go_on.Notify();
  EXPECT_TRUE(next.get().ok());
}

TEST(Encoder, LetsACancelledJobGoAtOnce) {
  const auto encoder = Load({.max_queue = 2});
  Holder holder(*encoder);
  ImageJob unwanted = Sample();
  const std::shared_ptr<CancelToken> cancel = unwanted.cancel;
  auto first = Submit(*encoder, std::move(unwanted)), second = Submit(*encoder, Sample());
  AwaitQueued(*encoder, 2);
  cancel->Cancel();
  ASSERT_TRUE(IsReady(first));
  EXPECT_EQ(first.get().status().code(), absl::StatusCode::kCancelled);
  AwaitQueued(*encoder, 1);
  auto third = Submit(*encoder, Sample());  // in its place
  holder.go_on.Notify();
  EXPECT_TRUE(second.get().ok());
  EXPECT_TRUE(third.get().ok());
  cancel->Cancel();
  ImageJob cancelled = Sample();
  cancelled.cancel = cancel;
  EXPECT_EQ(Encode(*encoder, std::move(cancelled)).status().code(), absl::StatusCode::kCancelled);
}

TEST(Encoder, EndsAJobWhoseDeadlinePassesWhileItWaits) {
  const auto encoder = Load();
  Holder holder(*encoder);
  ImageJob late = Sample();
  late.deadline = absl::Now() + absl::Milliseconds(50);
  auto result = Submit(*encoder, std::move(late));
  ASSERT_TRUE(IsReady(result, std::chrono::seconds(30)));
  EXPECT_EQ(result.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(encoder->load().queued, 0);
  ImageJob later = Sample();
  later.deadline = absl::Now() - absl::Seconds(1);
  EXPECT_EQ(Encode(*encoder, std::move(later)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(Encoder, FinishesWhatItTookWhenItShutsDown) {
  const auto encoder = Load();
  Holder holder(*encoder);
  auto waiting = Submit(*encoder, Sample());
  auto stopped = std::async(std::launch::async, [&] { encoder->Shutdown(); });
  // Jobs are taken until the other thread has come that far.
  absl::StatusCode code = absl::StatusCode::kOk;
  while (code != absl::StatusCode::kUnavailable) {
    ImageJob probe = Sample();
    const std::shared_ptr<CancelToken> cancel = probe.cancel;
    auto result = Submit(*encoder, std::move(probe));
    cancel->Cancel();
    code = result.get().status().code();
  }
  holder.go_on.Notify();
  EXPECT_TRUE(waiting.get().ok());
  stopped.get();
  encoder->Shutdown();
}

// 100 megapixels of 16 bits: the header says all, whatever else the encoder does, and whatever
// decoding would take.
TEST(Encoder, TellsRowsByTheHeaderAtOnce) {
  const auto encoder = Load();
  Holder holder(*encoder);
  ImageJob job{.data = BlackPng(10000, 10000, 16, 2), .header_only = true};
  auto header = Submit(*encoder, job);
  ASSERT_TRUE(IsReady(header));
  const auto image = header.get();
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->rows, 256);
  EXPECT_EQ(image->source_width, 10000);
  EXPECT_TRUE(image->values.empty());
  job.header_only = false;
  const absl::Status too_large = Encode(*encoder, job).status();
  EXPECT_EQ(GetErrorDetail(too_large).reason, "OVER_LIMIT");
  EXPECT_THAT(std::string(too_large.message()), HasSubstr("bytes of memory; at most 1073741824"));
}

TEST(Encoder, TellsTheSameByTheHeaderAsByThePixels) {
  const auto encoder = Load();
  ImageJob job{.data = ReadFile("tests/data/image/orientation6.jpg"), .max_soft_tokens = 70};
  const auto whole = Encode(*encoder, job);
  job.header_only = true;
  const auto header = Encode(*encoder, job);
  ASSERT_TRUE(whole.ok() && header.ok());
  EXPECT_EQ(header->rows, whole->rows);
  EXPECT_EQ(header->source_width, whole->source_width);
  EXPECT_EQ(header->content_digest, whole->content_digest);
}

// Media that don't fit into the memory together are decoded one after another.
TEST(Encoder, KeepsToItsMemory) {
  const auto encoder = Load({.decode_memory = 5 << 20});
  std::vector<std::future<absl::StatusOr<EncodedImage>>> results;
  for (int i = 0; i < 6; ++i) {
    results.push_back(Submit(*encoder, {.data = BlackPng(1000, 600, 8, 0), .max_soft_tokens = 70}));
  }
  for (auto& result : results) EXPECT_TRUE(result.get().ok());
  const absl::Status status = Encode(*encoder, {.data = BlackPng(2000, 2000, 8, 0)}).status();
  EXPECT_EQ(GetErrorDetail(status).reason, "OVER_LIMIT") << status;
}

// In the decoder (which asks for memory in both ways) and in the tower's growth.
TEST(Encoder, GoesOnWhenMemoryWasShort) {
  if (!softsplice::testing::CanLimitMemory()) GTEST_SKIP();
  EXPECT_TRUE(softsplice::testing::TrueInChild([] {
    const auto encoder = Load();
    if (!Encode(*encoder, Sample()).ok()) return false;
    std::string jpeg = ReadFile("tests/data/image/rgb.jpg");
    jpeg.replace(jpeg.find("\xff\xc0") + 5, 4, "\x20\0\x20\0", 4);
    softsplice::testing::LimitMemory(90 << 20);
    const auto is_short = [&](ImageJob job) {
      return GetErrorDetail(Encode(*encoder, std::move(job)).status()).reason == "OUT_OF_MEMORY";
    };
    return is_short({.data = BlackPng(6000, 6000, 8, 2)}) && is_short({.data = jpeg}) &&
           Encode(*encoder, Sample()).ok() && encoder->health().ok();
  }));
}

// What a sound's callbacks brought.
struct Heard {
  AudioLayout layout;
  std::vector<std::vector<float>> segments;
  absl::Status status;
  EncodeTimings timings;

  std::vector<float> values() const {
    std::vector<float> all;
    for (const auto& segment : segments) all.insert(all.end(), segment.begin(), segment.end());
    return all;
  }
};

std::future<Heard> SubmitSound(Encoder& encoder, AudioJob job) {
  auto heard = std::make_shared<Heard>();
  auto promise = std::make_shared<std::promise<Heard>>();
  encoder.EncodeAudio(std::move(job),
                      {.layout = [heard](AudioLayout layout) { heard->layout = std::move(layout); },
                       .rows =
                           [heard](std::vector<float> values, const std::function<void()>& next) {
                             heard->segments.push_back(std::move(values));
                             if (next) next();
                           },
                       .done =
                           [heard, promise](const absl::Status& status, const EncodeTimings& t) {
                             heard->status = status;
                             heard->timings = t;
                             promise->set_value(*heard);
                           }});
  return promise->get_future();
}

Heard Hear(Encoder& encoder, AudioJob job) { return SubmitSound(encoder, std::move(job)).get(); }

constexpr char kSound[] = "tests/data/demo/samples/digits-314.wav";

AudioJob SoundJob() { return {.data = ReadFile(kSound)}; }

// `seconds` of a synthetic sound, as raw PCM.
AudioJob Pcm(double seconds) {
  const std::vector<float> samples =
      softsplice::testing::SynthSound(1, static_cast<int>(seconds * kSampleRate));
  AudioJob job{.mime_type = "audio/L16;rate=16000"};
  for (const float sample : samples) {
    const auto value = static_cast<uint16_t>(static_cast<int16_t>(sample * 32768));
    job.data += {static_cast<char>(value >> 8), static_cast<char>(value)};
  }
  return job;
}

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
  EXPECT_EQ(fourth.get()->values, picture->values);
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
  refused({.data = ReadFile(kSample)}, invalid, "look like PNG");
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

// What a long sound's receiver is given, to be taken up by the test.
struct SlowReceiver {
  std::promise<std::function<void()>> parked;
  std::promise<absl::Status> done;
  std::atomic<int> segments = 0;

  AudioCallbacks callbacks() {
    return {.layout = [](const AudioLayout&) {},
            .rows =
                [this](const std::vector<float>&, std::function<void()> next) {
                  if (segments++ == 0) parked.set_value(std::move(next));
                },
            .done = [this](const absl::Status& status,
                           const EncodeTimings&) { done.set_value(status); }};
  }
};

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

TEST(EncodeAudio, ForgetsASoundWhoseReceiverIsGone) {
  const auto encoder = Load({.max_queue = 1});
  std::promise<void> first;
  const auto watched = std::make_shared<int>(0);
  encoder->EncodeAudio(
      Pcm(31),
      {.layout = [](const AudioLayout&) {},
       .rows = [&](const std::vector<float>&, const std::function<void()>&) { first.set_value(); },
       .done = [watched](const absl::Status&, const EncodeTimings&) { ADD_FAILURE(); }});
  first.get_future().get();
  // Soon after, on the encoder's thread.
  for (int i = 0; i < 5000 && watched.use_count() > 1; ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(watched.use_count(), 1);
  AwaitParked(*encoder, 0);
  EXPECT_TRUE(Encode(*encoder, Sample()).ok());
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
      {.layout = [](const AudioLayout&) {},
       .rows =
           [&](const std::vector<float>&, const std::function<void()>& next) {
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

// A file whose other tower is switched off by its key.
std::string WithoutTower(const std::string& key) {
  std::string bytes = ReadFile(kMmproj);
  const size_t at = bytes.find(key);
  EXPECT_NE(at, std::string::npos);
  bytes[at + key.size() + 4] = 0;  // behind the value's type
  const std::string path = ::testing::TempDir() + key + ".gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(EncoderLoad, TakesFilesWithOneTower) {
  const std::string no_audio = WithoutTower("clip.has_audio_encoder"),
                    no_image = WithoutTower("clip.has_vision_encoder");
  auto sees = Encoder::Load({.mmproj_path = no_audio, .backend = {.threads = 1}});
  ASSERT_TRUE(sees.ok()) << sees.status();
  EXPECT_TRUE((*sees)->info().has_image_tower);
  EXPECT_FALSE((*sees)->info().has_audio_tower);
  EXPECT_TRUE(Encode(**sees, Sample()).ok());
  const absl::Status deaf = Hear(**sees, SoundJob()).status;
  EXPECT_EQ(deaf.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(deaf.message()), HasSubstr("no audio tower"));

  auto hears = Encoder::Load({.mmproj_path = no_image, .backend = {.threads = 1}});
  ASSERT_TRUE(hears.ok()) << hears.status();
  EXPECT_FALSE((*hears)->info().has_image_tower);
  EXPECT_EQ((*hears)->info().dim, 192);
  EXPECT_TRUE(Hear(**hears, SoundJob()).status.ok());
  const absl::Status blind = Encode(**hears, Sample()).status();
  EXPECT_EQ(blind.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(blind.message()), HasSubstr("no image tower"));
}

TEST(EncoderLoad, RefusesOtherFiles) {
  const auto load = [](const std::string& path) {
    return Encoder::Load({.mmproj_path = path, .backend = {.threads = 1}}).status();
  };
  EXPECT_EQ(load("tests/data/none.gguf").code(), absl::StatusCode::kNotFound);
  const absl::Status text = load(kText);
  EXPECT_EQ(text.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(text.message()), HasSubstr("this is a text file"));

  const std::string bytes = ReadFile(kMmproj);
  const std::string path = ::testing::TempDir() + "cut.gguf";
  std::ofstream(path, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT_EQ(load(path).code(), absl::StatusCode::kFailedPrecondition);
}

// Weights that are not numbers, in either tower: such a file must not serve.
TEST(EncoderLoad, RefusesAModelThatGivesNoNumbers) {
  const auto demo = gguf::File::Open(kMmproj);
  ASSERT_TRUE(demo.ok());
  for (const char* name : {"v.blk.1.ffn_up.weight", "v.position_embd.weight", "a.blk.0.ln2.weight",
                           "a.blk.0.per_dim_scale.weight", "a.conv1d.0.weight"}) {
    const gguf::Tensor* tensor = (*demo)->FindOptional(name);
    ASSERT_NE(tensor, nullptr) << name;
    const gguf::Tensor& last = (*demo)->tensors().back();
    std::string bytes = ReadFile(kMmproj);
    const auto from_end = static_cast<size_t>(last.data + last.bytes - tensor->data);
    bytes.replace(bytes.size() - from_end, tensor->bytes, tensor->bytes, '\xff');
    const std::string path = ::testing::TempDir() + "not-a-number.gguf";
    std::ofstream(path, std::ios::binary) << bytes;
    const absl::Status status =
        Encoder::Load({.mmproj_path = path, .backend = {.threads = 1}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(path, ": tensor ", name)));
  }
}

TEST(EncoderLoad, NamesAMissingTensor) {
  std::string bytes = ReadFile(kMmproj);
  const size_t name = bytes.find("v.blk.2.ffn_up.weight");
  ASSERT_NE(name, std::string::npos);
  bytes[name + 8] = 'F';
  const std::string path = ::testing::TempDir() + "missing.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  const absl::Status status = Encoder::Load({.mmproj_path = path}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("v.blk.2.ffn_up.weight"));
}

}  // namespace
}  // namespace softsplice
