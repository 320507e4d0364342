// The encoder engine: media bytes in, soft tokens out. Plain C++, no gRPC.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gguf/file.h"
#include "encoder_svc/encoder_options.h"
#include "encoder_svc/jobs.h"
#include "kernels/footprint.h"

namespace softsplice {

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
