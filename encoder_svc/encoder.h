// The encoder engine: media bytes in, soft tokens out. Plain C++, no gRPC.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "encoder_svc/audio/mel.h"
#include "encoder_svc/audio/segments.h"
#include "kernels/backend_options.h"

namespace softsplice {

using Digest = std::array<uint8_t, 32>;  // SHA-256

struct EncoderOptions {
  std::string mmproj_path;
  BackendOptions backend;
  bool quick_gelu = false;  // llama.cpp's activation in the image tower, for cross-checks
  MelFloor mel_floor = MelFloor::kAdd;  // kMax: llama.cpp's, for cross-checks
  uint64_t max_media_bytes = 32 << 20;
  uint64_t max_image_pixels = 100'000'000;
  absl::Duration max_audio_duration = absl::Minutes(10);
  int max_queue = 64;  // jobs waiting; one more is refused
};

struct EncodeTimings {
  absl::Duration queued;
  absl::Duration preprocess;
  absl::Duration forward;
};

// Soft tokens of one picture, rows in reading order.
struct EncodedImage {
  int rows = 0;
  int dim = 0;
  int grid_rows = 0;
  int grid_columns = 0;
  int source_width = 0;  // after EXIF orientation
  int source_height = 0;
  int resized_width = 0;
  int resized_height = 0;
  int max_soft_tokens = 0;
  Digest content_digest{};
  std::vector<float> values;  // rows * dim
  EncodeTimings timings;
};

struct ImageJob {
  std::string data;
  std::string mime_type;     // empty: found out from the bytes
  int max_soft_tokens = 0;   // 70, 140, 280, 560, 1120; 0 is 280
  bool header_only = false;  // don't run the tower: values stay empty
  absl::Time deadline = absl::InfiniteFuture();
  // Called about the time the job starts; a job that is no longer wanted is dropped with CANCELLED.
  std::function<bool()> cancelled = [] { return false; };
};

// What is known of a sound before the tower runs. Each segment is a run of soft tokens of its own.
struct AudioLayout {
  int rows = 0;
  int dim = 0;
  Digest content_digest{};
  std::vector<AudioSegment> segments;  // at least one; without gaps in the rows
};

struct AudioJob {
  std::string data;
  std::string mime_type;     // empty: found out from the bytes
  bool header_only = false;  // don't run the tower: no rows
  absl::Time deadline = absl::InfiniteFuture();
  std::function<bool()> cancelled = [] { return false; };  // as an ImageJob's
};

// Where a sound's soft tokens go. All but the errors at once are called on the encoder's thread, in
// the order layout, rows of each segment, done.
struct AudioCallbacks {
  std::function<void(AudioLayout)> layout;
  // The rows * dim values of the next segment. `next` is null with the last one; else the encoder
  // goes on with the sound only once it was called (any thread, at most once, while the encoder
  // lives), so that a slow receiver is not sent more than it can take. Dropping `next` instead ends
  // the job: nothing is called any more.
  std::function<void(std::vector<float> values, std::function<void()> next)> rows;
  std::function<void(const absl::Status&, const EncodeTimings&)> done;
};

struct EncoderInfo {
  std::string model_name;
  std::string backend;
  Digest fingerprint{};  // over the tensors of the mmproj and the version of the preprocessing
  int dim = 0;
  bool has_image_tower = false;
  bool has_audio_tower = false;
};

struct EncoderLoadFigures {
  int queued = 0;
  int encoding = 0;
};

// Thread-safe. Pictures and sounds are encoded one after another on the encoder's own thread, in
// the order they came.
class Encoder {
 public:
  // Takes files with an image tower, an audio tower or both.
  static absl::StatusOr<std::unique_ptr<Encoder>> Load(const EncoderOptions& options);
  virtual ~Encoder() = default;

  using ImageDone = std::function<void(absl::StatusOr<EncodedImage>)>;
  // `done` is called exactly once, on the encoder's thread, or before return when the job is
  // refused: INVALID_ARGUMENT (bad bytes, mime type or budget), RESOURCE_EXHAUSTED (over a limit,
  // or the queue is full, with a retry delay), DEADLINE_EXCEEDED, CANCELLED, UNAVAILABLE after
  // Shutdown. FAILED_PRECONDITION: the file has no image tower.
  virtual void EncodeImage(ImageJob job, ImageDone done) = 0;
  // The same for a sound. Other jobs may come between its segments.
  virtual void EncodeAudio(AudioJob job, AudioCallbacks callbacks) = 0;

  virtual const EncoderInfo& info() const = 0;
  virtual EncoderLoadFigures load() const = 0;
  // Finishes the jobs that were taken, refuses new ones, joins the thread. Idempotent.
  virtual void Shutdown() = 0;
};

}  // namespace softsplice
