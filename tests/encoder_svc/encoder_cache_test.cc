// The encoder's cache: media that come again, or that several want at once.
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/rows_cache.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/encoder_testing.h"
#include "tests/support/read_file.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in

constexpr uint64_t kCache = 64 << 20;

// What is encoded without a cache.
std::unique_ptr<Encoder> Fresh() { return Load(); }

TEST(EncoderCache, GivesARepeatedPictureTheRowsOfAFreshOne) {
  const auto fresh = Encode(*Fresh(), Sample());
  const auto encoder = Load({.max_queue = 1, .cache_bytes = kCache});
  const auto first = Encode(*encoder, Sample());
  ASSERT_TRUE(fresh.ok() && first.ok()) << first.status();
  EXPECT_FALSE(first->timings.cache_hit);
  EXPECT_EQ(*first->values, *fresh->values);
  // The towers are held and the queue is full: it waits for neither.
  Holder holder(*encoder, Sample(140));
  auto waits = Submit(*encoder, Sample(280));
  ImageJob named = Sample();
  named.mime_type = "image/png";
  auto again = Submit(*encoder, std::move(named));
  ASSERT_TRUE(IsReady(again));
  const auto hit = again.get();
  ASSERT_TRUE(hit.ok()) << hit.status();
  EXPECT_TRUE(hit->timings.cache_hit);
  EXPECT_EQ(hit->timings.forward + hit->timings.preprocess, absl::ZeroDuration());
  EXPECT_EQ(*hit->values, *fresh->values);
  EXPECT_EQ(hit->content_digest, fresh->content_digest);
  EXPECT_EQ(hit->layout.source_width, fresh->layout.source_width);
  EXPECT_EQ(hit->layout.resized_height, fresh->layout.resized_height);
  EXPECT_EQ(encoder->load().cache_hits, 1u);
  EXPECT_EQ(encoder->load().cache_misses, 3u);
  holder.go_on.Notify();
  EXPECT_TRUE(waits.get().ok());
}

TEST(EncoderCache, CountsItsBytes) {
  const auto encoder = Load({.cache_bytes = kCache});
  uint64_t bytes = 0;
  for (const int budget : {70, 140, 70}) {
    const auto image = Encode(*encoder, Sample(budget));
    ASSERT_TRUE(image.ok());
    if (!image->timings.cache_hit) {
      bytes += image->values->size() * sizeof(float) + RowsCache::kEntryBytes;
    }
    EXPECT_EQ(encoder->load().cache_bytes, bytes);
  }
}

// The bytes decide, and all that the request says of them is checked as ever.
TEST(EncoderCache, IsNotAskedForWhatIsRefused) {
  const auto encoder = Load({.cache_bytes = kCache});
  ASSERT_TRUE(Encode(*encoder, Sample()).ok());
  ASSERT_TRUE(Hear(*encoder, Pcm(0.3)).status.ok());
  ImageJob lies = Sample();
  lies.mime_type = "image/gif";
  EXPECT_EQ(Encode(*encoder, lies).status().code(), absl::StatusCode::kInvalidArgument);
  ImageJob late = Sample();
  late.deadline = absl::ZeroDuration();
  EXPECT_EQ(Encode(*encoder, late).status().code(), absl::StatusCode::kDeadlineExceeded);
  ImageJob cancelled = Sample();
  cancelled.cancel->Cancel();
  EXPECT_EQ(Encode(*encoder, cancelled).status().code(), absl::StatusCode::kCancelled);
  ImageJob other = Sample();
  other.data.back() = static_cast<char>(other.data.back() ^ 1);
  EXPECT_EQ(Encode(*encoder, other).status().code(), absl::StatusCode::kInvalidArgument);
  // The same bytes at another rate are another sound.
  AudioJob slower = Pcm(0.3);
  slower.mime_type = "audio/L16;rate=8000";
  const Heard heard = Hear(*encoder, slower);
  ASSERT_TRUE(heard.status.ok());
  EXPECT_FALSE(heard.timings.cache_hit);
  EXPECT_EQ(encoder->load().cache_hits, 0u);
}

// Pcm() is of a known length; that of an MP3 is known once it is decoded.
TEST(EncoderCache, GivesARepeatedSoundTheRowsOfAFreshOne) {
  const auto encoder = Load({.cache_bytes = kCache}), fresh = Fresh();
  const AudioJob mp3{.data = ReadFile("tests/data/demo/samples/digits-314.mp3")};
  for (const AudioJob& job : {Pcm(61), mp3}) {
    const auto job_of_its_own = [&] {
      return AudioJob{.data = job.data, .mime_type = job.mime_type};
    };
    const Heard expected = Hear(*fresh, job_of_its_own());
    const Heard first = Hear(*encoder, job_of_its_own());
    ASSERT_TRUE(first.status.ok()) << first.status;
    EXPECT_FALSE(first.timings.cache_hit);
    EXPECT_EQ(first.segments, expected.segments);
    Holder holder(*encoder, Sample(job.mime_type.empty() ? 70 : 140));
    std::future<Heard> again = SubmitSound(*encoder, job_of_its_own());
    ASSERT_TRUE(IsReady(again));
    const Heard hit = again.get();
    EXPECT_TRUE(hit.timings.cache_hit);
    EXPECT_EQ(hit.segments, expected.segments);
    EXPECT_EQ(hit.layout.rows, expected.layout.rows);
    EXPECT_EQ(hit.layout.content_digest, expected.layout.content_digest);
    EXPECT_EQ(hit.layout.segments.size(), expected.layout.segments.size());
  }
}

// More than there are places; the first one goes, which fails none of the others.
TEST(EncoderCache, EncodesOnceWhatManyWantAtOnce) {
  const auto encoder = Load({.max_queue = 1, .cache_bytes = kCache});
  const auto expected = Encode(*Fresh(), Sample(140));
  Holder holder(*encoder, Sample());
  ImageJob leaves = Sample(140);
  const std::shared_ptr<CancelToken> cancel = leaves.cancel;
  auto first = Submit(*encoder, std::move(leaves));
  AwaitQueued(*encoder, 1);
  std::vector<std::future<absl::StatusOr<EncodedImage>>> others;
  for (int i = 0; i < 20; ++i) others.push_back(Submit(*encoder, Sample(140)));
  cancel->Cancel();
  ASSERT_TRUE(IsReady(first));
  EXPECT_EQ(first.get().status().code(), absl::StatusCode::kCancelled);
  holder.go_on.Notify();
  for (auto& other : others) {
    const auto image = other.get();
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(*image->values, *expected->values);
    EXPECT_TRUE(image->timings.cache_hit);
  }
  EXPECT_EQ(encoder->load().cache_misses, 2u);
}

TEST(EncoderCache, ForgetsWhatNobodyWantsAnyMore) {
  const auto encoder = Load({.cache_bytes = kCache});
  Holder holder(*encoder, Sample());
  ImageJob first = Sample(140), second = Sample(140);
  const auto cancels = {first.cancel, second.cancel};
  auto results = {Submit(*encoder, std::move(first)).share(),
                  Submit(*encoder, std::move(second)).share()};
  AwaitQueued(*encoder, 1);
  for (const auto& cancel : cancels) cancel->Cancel();
  EXPECT_EQ(encoder->load().queued, 0);
  for (const auto& result : results) {
    EXPECT_EQ(result.get().status().code(), absl::StatusCode::kCancelled);
  }
  holder.go_on.Notify();
  EXPECT_TRUE(Encode(*encoder, Sample(140)).ok());
}

// What is known needs no encoder.
TEST(EncoderCache, AnswersWhatItHasAfterTheEnd) {
  const auto encoder = Load({.cache_bytes = kCache});
  ASSERT_TRUE(Encode(*encoder, Sample()).ok());
  encoder->Shutdown();
  EXPECT_TRUE(Encode(*encoder, Sample()).ok());
  EXPECT_EQ(Encode(*encoder, Sample(140)).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace softsplice
