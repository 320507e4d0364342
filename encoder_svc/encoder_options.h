// How an encoder is to work.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "encoder_svc/audio/mel.h"
#include "kernels/backend_options.h"
#include "kernels/load_progress.h"

namespace softsplice {

// Rows of a picture, at most.
inline constexpr int kMostSoftTokens = 1120;
// Of a video: as the official video processor takes, and at most.
inline constexpr int kDefaultFrames = 32, kMostFrames = 256;
// Of a frame, 7680 x 4320: FFmpeg's process has no memory for more.
inline constexpr uint64_t kMostFramePixels = 33'177'600;

struct EncoderOptions {
  std::string mmproj_path;
  BackendOptions backend;          // but for the device
  std::vector<int> devices = {0};  // of "cuda" and "auto": each encodes by itself, off one queue
  bool quick_gelu = false;         // llama.cpp's activation in the image tower, for cross-checks
  MelFloor mel_floor = MelFloor::kAdd;  // kMax: llama.cpp's, for cross-checks
  uint64_t max_media_bytes = 32 << 20;
  uint64_t max_image_pixels = 100'000'000;
  absl::Duration max_audio_duration = absl::Minutes(10);
  absl::Duration max_video_duration = absl::Minutes(10);
  std::string ffmpeg;  // softsplice-ffmpeg's path; empty: what needs it is refused
  int max_queue = 64;  // jobs that wait, are decoded or parked; one more is refused
  absl::Duration max_wait = absl::Seconds(60);  // expected; one that would wait longer is refused
  int decode_threads = 2;                       // no more than the machine has CPUs, or two
  // Bytes of all media together, from decoding to the tower; one that takes more is refused.
  uint64_t decode_memory = 1 << 30;
  // Bytes of rows that are kept for media that come again; 0: each is encoded whenever it comes.
  uint64_t cache_bytes = 0;
  OnLoad on_load = [](absl::string_view, int) {};
  // Called with how the pass of each medium ended, on the tower's thread; must not block.
  std::function<void(const absl::Status&)> on_pass = [](const absl::Status&) {};
};

}  // namespace softsplice
