// The encoder on the demo model, and what its receivers get, for its tests.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "encoder_svc/encoder.h"
#include "gtest/gtest.h"
#include "tests/support/read_file.h"
#include "tests/support/synth_sound.h"

namespace softsplice::testing {

constexpr char kMmproj[] = "tests/data/demo/demo-mmproj.gguf";

inline std::unique_ptr<Encoder> Load(EncoderOptions options = {}) {
  options.mmproj_path = kMmproj;
  options.backend.threads = 2;
  auto encoder = Encoder::Load(options);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return encoder.ok() ? *std::move(encoder) : nullptr;
}

inline std::future<absl::StatusOr<EncodedImage>> Submit(Encoder& encoder, ImageJob job) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<EncodedImage>>>();
  encoder.EncodeImage(std::move(job), [promise](absl::StatusOr<EncodedImage> result) {
    promise->set_value(std::move(result));
  });
  return promise->get_future();
}

inline absl::StatusOr<EncodedImage> Encode(Encoder& encoder, ImageJob job) {
  return Submit(encoder, std::move(job)).get();
}

inline ImageJob Sample(int max_soft_tokens = 70) {
  return {.data = ReadFile("tests/data/demo/samples/circle-square.png"),
          .max_soft_tokens = max_soft_tokens};
}

// A job whose receiver holds the towers' thread until told otherwise.
struct Holder {
  absl::Notification started, go_on;

  explicit Holder(Encoder& encoder, ImageJob job = Sample()) {
    encoder.EncodeImage(std::move(job), [this](const absl::StatusOr<EncodedImage>& image) {
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

inline void AwaitQueued(const Encoder& encoder, int count) {
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

// What a recording's callbacks brought.
struct Heard {
  RecordingLayout layout;
  std::vector<std::vector<float>> segments;  // or frames
  absl::Status status;
  EncodeTimings timings;

  std::vector<float> values() const {
    std::vector<float> all;
    for (const auto& segment : segments) all.insert(all.end(), segment.begin(), segment.end());
    return all;
  }
};

inline std::pair<std::future<Heard>, RecordingCallbacks> Receiver() {
  auto heard = std::make_shared<Heard>();
  auto promise = std::make_shared<std::promise<Heard>>();
  RecordingCallbacks callbacks{
      .layout = [heard](RecordingLayout layout) { heard->layout = std::move(layout); },
      .rows =
          [heard](const Values& values, const std::function<void()>& next) {
            heard->segments.push_back(*values);
            if (next) next();
          },
      .done =
          [heard, promise](const absl::Status& status, const EncodeTimings& t) {
            heard->status = status;
            heard->timings = t;
            promise->set_value(*heard);
          }};
  return {promise->get_future(), std::move(callbacks)};
}

// What a long sound's receiver is given, to be taken up by the test.
struct SlowReceiver {
  std::promise<std::function<void()>> parked;
  std::promise<absl::Status> done;
  std::atomic<int> segments = 0;

  RecordingCallbacks callbacks() {
    return {.layout = [](const RecordingLayout&) {},
            .rows =
                [this](const Values&, std::function<void()> next) {
                  if (segments++ == 0) parked.set_value(std::move(next));
                },
            .done = [this](const absl::Status& status,
                           const EncodeTimings&) { done.set_value(status); }};
  }
};

inline std::future<Heard> SubmitSound(Encoder& encoder, AudioJob job) {
  auto [heard, callbacks] = Receiver();
  encoder.EncodeAudio(std::move(job), std::move(callbacks));
  return std::move(heard);
}

inline Heard Hear(Encoder& encoder, AudioJob job) {
  return SubmitSound(encoder, std::move(job)).get();
}

inline Heard Watch(Encoder& encoder, VideoJob job) {
  auto [heard, callbacks] = Receiver();
  encoder.EncodeVideo(std::move(job), std::move(callbacks));
  return heard.get();
}

inline AudioJob SoundJob() { return {.data = ReadFile("tests/data/demo/samples/digits-314.wav")}; }

// `seconds` of a synthetic sound, as raw PCM.
inline AudioJob Pcm(double seconds) {
  const std::vector<float> samples = SynthSound(1, static_cast<int>(seconds * kSampleRate));
  AudioJob job{.mime_type = "audio/L16;rate=16000"};
  for (const float sample : samples) {
    const auto value = static_cast<uint16_t>(static_cast<int16_t>(sample * 32768));
    job.data += {static_cast<char>(value >> 8), static_cast<char>(value)};
  }
  return job;
}

}  // namespace softsplice::testing
