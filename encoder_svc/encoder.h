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
#include "kernels/backend_factory.h"

namespace softsplice {

using Digest = std::array<uint8_t, 32>;  // SHA-256

struct EncoderOptions {
  std::string mmproj_path;
  BackendOptions backend;
  bool quick_gelu = false;  // llama.cpp's activation in the image tower, for cross-checks
  uint64_t max_media_bytes = 32 << 20;
  uint64_t max_image_pixels = 100'000'000;
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

// Thread-safe. Jobs run one after another on the encoder's own thread, in the order they came.
class Encoder {
 public:
  static absl::StatusOr<std::unique_ptr<Encoder>> Load(const EncoderOptions& options);
  virtual ~Encoder() = default;

  using ImageDone = std::function<void(absl::StatusOr<EncodedImage>)>;
  // `done` is called exactly once, on the encoder's thread, or before return when the job is
  // refused: INVALID_ARGUMENT (bad bytes, mime type or budget), RESOURCE_EXHAUSTED (over a limit,
  // or the queue is full, with a retry delay), DEADLINE_EXCEEDED, CANCELLED, UNAVAILABLE after
  // Shutdown.
  virtual void EncodeImage(ImageJob job, ImageDone done) = 0;

  virtual const EncoderInfo& info() const = 0;
  virtual EncoderLoadFigures load() const = 0;
  // Finishes the jobs that were taken, refuses new ones, joins the thread. Idempotent.
  virtual void Shutdown() = 0;
};

}  // namespace softsplice
