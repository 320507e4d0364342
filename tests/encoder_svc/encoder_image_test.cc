// The encoder engine's pictures: answers, refusals, and the queue.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "common/time/steady.h"
#include "encoder_svc/encoder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/encoder_testing.h"
#include "tests/support/png_writer.h"
#include "tests/support/read_file.h"
#include "tests/support/short_memory.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::HasSubstr;

constexpr char kPicture[] = "tests/data/demo/samples/circle-square.png";

TEST(Encoder, EncodesASample) {
  const auto encoder = Load();
  EXPECT_EQ(encoder->info().dim, 192);
  EXPECT_TRUE(encoder->info().has_image_tower);
  EXPECT_THAT(encoder->info().backend, HasSubstr("cpu"));
  const auto image = Encode(*encoder, Sample(0));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->layout.max_soft_tokens, 280);
  EXPECT_EQ(image->layout.rows, image->layout.grid_rows * image->layout.grid_columns);
  EXPECT_EQ(image->layout.resized_width, image->layout.grid_columns * 48);
  EXPECT_EQ(image->layout.resized_height, image->layout.grid_rows * 48);
  EXPECT_GT(image->layout.rows, 200);
  EXPECT_LE(image->layout.rows, 280);
  EXPECT_EQ(image->dim, 192);
  EXPECT_EQ(image->values->size(), static_cast<size_t>(image->layout.rows) * 192);
  EXPECT_TRUE(std::all_of(image->values->begin(), image->values->end(),
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
  EXPECT_EQ(*first->values, *again->values);
  EXPECT_EQ(first->content_digest, again->content_digest);
  EXPECT_NE(first->content_digest, finer->content_digest);
  EXPECT_NE(first->content_digest, other->content_digest);
}

TEST(Encoder, TellsTheSourceSizeAfterOrientation) {
  const auto encoder = Load();
  const auto image = Encode(
      *encoder, {.data = ReadFile("tests/data/image/orientation6.jpg"), .max_soft_tokens = 70});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->layout.source_width, 23);
  EXPECT_EQ(image->layout.source_height, 37);
  EXPECT_GT(image->layout.grid_rows, image->layout.grid_columns);
}

TEST(Encoder, HasAFingerprintOfWeightsAndSettings) {
  const auto encoder = Load(), same = Load(), quick = Load({.quick_gelu = true});
  EXPECT_EQ(encoder->info().fingerprint, same->info().fingerprint);
  EXPECT_NE(encoder->info().fingerprint, quick->info().fingerprint);
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
  refused({.data = "garbage"}, absl::StatusCode::kInvalidArgument, "in no format that we know");
  refused(Sample(100), absl::StatusCode::kInvalidArgument, "70, 140, 280, 560 or 1120");
  refused(Sample(-70), absl::StatusCode::kInvalidArgument, "max_soft_tokens is -70");
  refused({.data = ReadFile(kPicture), .mime_type = "image/gif"},
          absl::StatusCode::kInvalidArgument, "contradicts");
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
  EXPECT_EQ(dot->layout.rows, 64);
  const auto line = Encode(*encoder, {.data = bmp(1, 4000), .max_soft_tokens = 70});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->layout.grid_columns, 1);
  EXPECT_EQ(line->layout.grid_rows, 70);
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
  auto third = Submit(*encoder, Sample());  // in its place, once whoever was at it has let go
  for (int i = 0; i < 10'000 && IsReady(third); ++i, third = Submit(*encoder, Sample())) {
    const absl::Status refused = third.get().status();
    ASSERT_EQ(GetErrorDetail(refused).reason, "QUEUE_FULL") << refused;
    absl::SleepFor(absl::Milliseconds(1));
  }
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
  late.deadline = SteadyNow() + absl::Milliseconds(50);
  auto result = Submit(*encoder, std::move(late));
  ASSERT_TRUE(IsReady(result, std::chrono::seconds(30)));
  EXPECT_EQ(result.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(encoder->load().queued, 0);
  ImageJob later = Sample();
  later.deadline = SteadyNow() - absl::Seconds(1);
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
  const auto encoder = Load({.decode_memory = 256 << 20});
  Holder holder(*encoder);
  ImageJob job{.data = BlackPng(10000, 10000, 16, 2), .header_only = true};
  auto header = Submit(*encoder, job);
  ASSERT_TRUE(IsReady(header));
  const auto image = header.get();
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->layout.rows, 256);
  EXPECT_EQ(image->layout.source_width, 10000);
  EXPECT_EQ(image->values, nullptr);
  job.header_only = false;
  const absl::Status too_large = Encode(*encoder, job).status();
  EXPECT_EQ(GetErrorDetail(too_large).reason, "OVER_LIMIT");
  EXPECT_THAT(std::string(too_large.message()), HasSubstr("bytes of memory; at most 268435456"));
}

TEST(Encoder, TellsTheSameByTheHeaderAsByThePixels) {
  const auto encoder = Load();
  ImageJob job{.data = ReadFile("tests/data/image/orientation6.jpg"), .max_soft_tokens = 70};
  const auto whole = Encode(*encoder, job);
  job.header_only = true;
  const auto header = Encode(*encoder, job);
  ASSERT_TRUE(whole.ok() && header.ok());
  EXPECT_EQ(header->layout.rows, whole->layout.rows);
  EXPECT_EQ(header->layout.source_width, whole->layout.source_width);
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

// In the decoders, which ask for it in two ways, and behind them.
TEST(Encoder, GoesOnWhenMemoryWasShort) {
  if (!CanLimitMemory()) GTEST_SKIP();
  EXPECT_TRUE(TrueInChild([] {
    const auto encoder = Load();
    if (!Encode(*encoder, Sample()).ok()) return false;
    std::string jpeg = ReadFile("tests/data/image/rgb.jpg");
    jpeg.replace(jpeg.find("\xff\xc0") + 5, 4, "\x20\0\x20\0", 4);
    LimitMemory(90 << 20);
    const auto is_short = [&](ImageJob job) {
      return GetErrorDetail(Encode(*encoder, std::move(job)).status()).reason == "OUT_OF_MEMORY";
    };
    const bool decoders =
        is_short({.data = BlackPng(9000, 9000, 8, 2)}) && is_short({.data = jpeg});
    LimitMemory(20 << 20);
    return decoders && is_short(Sample(1120)) && Encode(*encoder, Sample()).ok() &&
           encoder->health().ok();
  }));
}

}  // namespace
}  // namespace softsplice
