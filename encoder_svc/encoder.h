// The encoder engine: media bytes in, soft tokens out. Plain C++, no gRPC.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gguf/file.h"
#include "encoder_svc/audio/segments.h"
#include "encoder_svc/cancel_token.h"
#include "encoder_svc/encoder_options.h"
#include "kernels/footprint.h"

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

struct EncoderInfo {
  std::string model_name;
  std::string backend;
  std::string backend_why;   // that one, for people
  std::vector<int> devices;  // of "cuda"
  Footprint footprint;       // of each device, or of the host
  Digest fingerprint{};      // over the tensors of the mmproj and the version of the preprocessing
  int dim = 0;
  bool has_image_tower = false;
  bool has_audio_tower = false;
};

struct EncoderLoadFigures {
  int queued = 0;  // wait for being decoded or for a tower
  int encoding = 0, decoding = 0;
  int parked = 0;  // recordings between two runs, whose receiver has not asked for the next one
  absl::Duration expected_wait;  // before the turn of what comes now
  uint64_t cache_bytes = 0;      // what rows in the cache take
  uint64_t cache_hits = 0;       // jobs that needed no pass of their own
  uint64_t cache_misses = 0;     // jobs that did, where there is a cache
};

// Thread-safe. Media are decoded on some threads and encoded one after another on another, in the
// order they are ready.
class Encoder {
 public:
  // Takes files with an image tower, an audio tower or both. INVALID_ARGUMENT: the backend can't
  // run here, or there is no such device. FAILED_PRECONDITION: not such a file. RESOURCE_EXHAUSTED:
  // memory is short; says what is needed. INTERNAL (MODEL_NOT_FINITE): what it computes is no
  // number.
  static absl::StatusOr<std::unique_ptr<Encoder>> Load(const EncoderOptions& options);
  virtual ~Encoder() = default;
  // What the towers of `file` take of a device, or of the host, at most; the backend is not "auto"
  // nor "ref". INVALID_ARGUMENT: built without CUDA. FAILED_PRECONDITION: not such a file.
  static absl::StatusOr<Footprint> Measure(const gguf::File& file, const EncoderOptions& options);

  using ImageDone = std::function<void(absl::StatusOr<EncodedImage>)>;
  // `done` is called exactly once and throws nothing; on a thread of the encoder's, on that which
  // cancels the job, or before return when the job is refused or its answer is known:
  // INVALID_ARGUMENT (bad bytes, mime type or budget), RESOURCE_EXHAUSTED (OVER_LIMIT; with a retry
  // delay QUEUE_FULL, also when the wait would be over max_wait or the deadline, OUT_OF_MEMORY),
  // DEADLINE_EXCEEDED, CANCELLED, UNAVAILABLE after Shutdown, INTERNAL. What is in the cache, or
  // being encoded for another job, waits for no place of its own. FAILED_PRECONDITION: the
  // file has no image tower.
  virtual void EncodeImage(ImageJob job, ImageDone done) = 0;
  // The same for a sound. Other jobs may come between its segments.
  virtual void EncodeAudio(AudioJob job, RecordingCallbacks callbacks) = 0;
  // The same for a video, and between its frames. FAILED_PRECONDITION: the file lacks a tower that
  // it takes.
  virtual void EncodeVideo(VideoJob job, RecordingCallbacks callbacks) = 0;

  virtual const EncoderInfo& info() const = 0;
  virtual EncoderLoadFigures load() const = 0;
  // SteadyNow() when the oldest step under way began; now, if there is none: the liveness signal. A
  // step is one medium's decoding or one pass of a tower, some seconds each.
  virtual absl::Duration last_step() const = 0;
  // OK, or for good what is wrong: with its passes (see PassRecord), or that its file was changed.
  virtual absl::Status health() const = 0;
  // Finishes the jobs that were taken, refuses new ones, joins the threads. Idempotent.
  virtual void Shutdown() = 0;
};

}  // namespace softsplice
