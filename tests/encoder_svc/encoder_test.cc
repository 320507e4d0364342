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
#include "tests/support/read_file.h"

namespace softsplice {
namespace {

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

// A job that holds the encoder's thread until told otherwise.
struct Holder {
  absl::Notification started, go_on;
  std::future<absl::StatusOr<EncodedImage>> result;

  explicit Holder(Encoder& encoder) {
    ImageJob job = Sample();
    job.cancelled = [this] {
      if (!started.HasBeenNotified()) started.Notify();
      go_on.WaitForNotification();
      return false;
    };
    result = Submit(encoder, std::move(job));
    started.WaitForNotification();
  }
};

TEST(Encoder, RefusesWhenItsQueueIsFull) {
  const auto encoder = Load({.max_queue = 2});
  Holder holder(*encoder);
  auto second = Submit(*encoder, Sample()), third = Submit(*encoder, Sample());
  EXPECT_EQ(encoder->load().queued, 2);
  EXPECT_EQ(encoder->load().encoding, 1);
  const auto refused = Encode(*encoder, Sample());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(GetErrorDetail(refused.status()).retry_after, absl::ZeroDuration());
  holder.go_on.Notify();
  EXPECT_TRUE(holder.result.get().ok());
  EXPECT_TRUE(second.get().ok());
  EXPECT_TRUE(third.get().ok());
  EXPECT_EQ(encoder->load().queued, 0);
  EXPECT_EQ(encoder->load().encoding, 0);
}

TEST(Encoder, DropsWhatNobodyWaitsFor) {
  const auto encoder = Load();
  Holder holder(*encoder);
  ImageJob cancelled = Sample(), late = Sample();
  cancelled.cancelled = [] { return true; };
  late.deadline = absl::Now() + absl::Milliseconds(1);
  auto first = Submit(*encoder, std::move(cancelled)), second = Submit(*encoder, std::move(late));
  absl::SleepFor(absl::Milliseconds(2));
  holder.go_on.Notify();
  EXPECT_EQ(first.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(second.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Encode(*encoder, Sample()).ok());
}

TEST(Encoder, FinishesWhatItTookWhenItShutsDown) {
  const auto encoder = Load();
  Holder holder(*encoder);
  auto waiting = Submit(*encoder, Sample());
  auto stopped = std::async(std::launch::async, [&] { encoder->Shutdown(); });
  // Jobs are taken until the other thread has come that far.
  absl::StatusCode code = absl::StatusCode::kOk;
  while (code != absl::StatusCode::kUnavailable) {
    auto probe = Submit(*encoder, {.data = "x"});
    const bool refused = probe.wait_for(std::chrono::milliseconds(1)) == std::future_status::ready;
    if (refused) code = probe.get().status().code();
  }
  holder.go_on.Notify();
  EXPECT_TRUE(holder.result.get().ok());
  EXPECT_TRUE(waiting.get().ok());
  stopped.get();
  encoder->Shutdown();
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
