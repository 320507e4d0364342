// What an encoder is asked for, and what it tells of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "encoder_svc/audio/segments.h"
#include "encoder_svc/cancel_token.h"

namespace softsplice {

using Digest = std::array<uint8_t, 32>;  // SHA-256
// Soft tokens row by row, shared by all who want the same medium.
using Values = std::shared_ptr<const std::vector<float>>;

struct EncodeTimings {
  absl::Duration queued;
  absl::Duration preprocess;
  absl::Duration forward;
  // The rows came from the cache, or from a pass that another job had begun: all was waiting.
  bool cache_hit = false;
};

// How a picture, or a frame of a video, becomes rows, which are in reading order.
struct ImageLayout {
  int rows = 0;
  int grid_rows = 0;
  int grid_columns = 0;
  int source_width = 0;  // upright
  int source_height = 0;
  int resized_width = 0;
  int resized_height = 0;
  int max_soft_tokens = 0;
};

// Soft tokens of one picture.
struct EncodedImage {
  ImageLayout layout;
  int dim = 0;
  Digest content_digest{};
  Values values;  // rows * dim; null: only what the headers tell
  EncodeTimings timings;
};

struct ImageJob {
  std::string data;         // let go of once it is decoded
  std::string mime_type;    // empty: found out from the bytes
  int max_soft_tokens = 0;  // 70, 140, 280, 560, 1120; 0 is 280
  // What the headers tell, at once: there are no values, and corrupt pixels are not found out.
  bool header_only = false;
  absl::Duration deadline = absl::InfiniteDuration();  // of SteadyNow
  // A job that waits when it is cancelled ends then, with CANCELLED, before Cancel() returns; one
  // that is being decoded or encoded ends soon after. While the encoder lives.
  std::shared_ptr<CancelToken> cancel = std::make_shared<CancelToken>();
};

struct VideoFrame {
  int first_row = 0;
  int rows = 0;
  absl::Duration time;  // as transformers tells it to the model
};

// What is known of a recording, which is a sound or a video, before a tower runs. Each frame, and
// then each segment, is a run of soft tokens of its own, without gaps in the rows.
struct RecordingLayout {
  int rows = 0;
  int dim = 0;
  Digest content_digest{};
  std::vector<VideoFrame> frames;      // of a video: at least one
  std::vector<AudioSegment> segments;  // of a sound: at least one
  ImageLayout frame;                   // of a video: of each frame
  absl::Duration duration;             // of a video

  size_t runs() const { return frames.size() + segments.size(); }
};

struct AudioJob {
  std::string data;       // let go of once it is decoded
  std::string mime_type;  // empty: found out from the bytes
  // No rows. As an ImageJob's where the header tells the length (WAV, FLAC, raw PCM), else decoded.
  bool header_only = false;
  absl::Duration deadline = absl::InfiniteDuration();                     // of SteadyNow
  std::shared_ptr<CancelToken> cancel = std::make_shared<CancelToken>();  // as an ImageJob's
};

// Frames of a video, and its sound.
struct VideoJob {
  std::string data;         // let go of once it is decoded
  std::string mime_type;    // empty: found out from the bytes
  int max_soft_tokens = 0;  // of a frame; 0 is 70
  int max_frames = 0;       // 0 is 32
  bool without_sound = false;
  // No rows; corrupt frames are not found out.
  bool header_only = false;
  absl::Duration deadline = absl::InfiniteDuration();                     // of SteadyNow
  std::shared_ptr<CancelToken> cancel = std::make_shared<CancelToken>();  // as an ImageJob's
};

// Where a recording's soft tokens go, in the order layout, rows of each run, done; one at a time,
// on threads of the encoder's, on the caller's before it returns, on that which calls `next`, or
// (done) on that which cancels the job.
struct RecordingCallbacks {
  std::function<void(RecordingLayout)> layout;
  // The rows * dim values of the next run. `next` is null with the last one; else those after
  // it come only once it was called (any thread, at most once, while the encoder lives): a slow
  // receiver is not sent more than it can take. Whoever wants no more cancels the job.
  std::function<void(Values values, std::function<void()> next)> rows;
  std::function<void(const absl::Status&, const EncodeTimings&)> done;
};

}  // namespace softsplice
