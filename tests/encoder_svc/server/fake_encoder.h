// An encoder that does as a test says.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "encoder_svc/encoder.h"

namespace softsplice {

constexpr int kDim = 2560;

inline Values Shared(std::vector<float> values) {
  return std::make_shared<const std::vector<float>>(std::move(values));
}

inline float Value(size_t i) { return static_cast<float>(i % 1999) / 64.f - 3.25f; }

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

}  // namespace softsplice
