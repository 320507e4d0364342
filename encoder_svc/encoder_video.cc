// The first steps of a video: what is asked for at once, then frames, resized, and samples on a
// decoder's thread.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/time/steady.h"
#include "encoder_svc/audio/decode.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/ffmpeg/messages.h"
#include "encoder_svc/fingerprint.h"
#include "encoder_svc/guarded.h"
#include "encoder_svc/recording.h"
#include "encoder_svc/shared_rows.h"

namespace softsplice {
namespace {

constexpr int kDefaultBudget = 70;  // the official video processor's
// Of a frame that there is always room for: 1920 x 1080.
constexpr uint64_t kLeastPixels = 2'073'600;
constexpr uint64_t kFrameBytes = 6;  // of each pixel, while a frame is resized

// What is the end of a decoding that has told enough.
absl::Status Enough() { return absl::AbortedError("only the header was asked for"); }

}  // namespace

void EncoderImpl::EncodeVideo(VideoJob job, RecordingCallbacks callbacks) {
  const absl::Status status = Guarded([&] { return BeginVideo(job, callbacks); });
  if (!status.ok()) callbacks.done(status, {});
}

absl::StatusOr<EncoderImpl::VideoPlan> EncoderImpl::PlanVideo(const VideoJob& job) const {
  VideoPlan plan{.sound = !job.without_sound, .header_only = job.header_only};
  ASSIGN_OR_RETURN(plan.budget, Budget(job.max_soft_tokens, kDefaultBudget));
  plan.frames = job.max_frames == 0 ? kDefaultFrames : job.max_frames;
  if (plan.frames < 0 || plan.frames > kMostFrames) {
    return InvalidField("max_frames", absl::StrCat("max_frames is ", plan.frames, "; at most ",
                                                   kMostFrames, " are taken"));
  }
  plan.limits = {.max_bytes = options_.max_media_bytes,
                 .max_duration = options_.max_video_duration,
                 .ffmpeg = options_.ffmpeg};
  ASSIGN_OR_RETURN(plan.format, FindVideoFormat(job.data, job.mime_type, plan.limits));
  RETURN_IF_ERROR(MakeRoom(job.data.size(), &plan));
  return plan;
}

uint64_t EncoderImpl::VideoPlan::Bytes(uint64_t pixels) const {
  return kept_bytes + limits.heap_bytes + kFrameBytes * pixels;
}

// For FFmpeg's process a copy of the file; all frames, resized, and the samples.
absl::Status EncoderImpl::MakeRoom(uint64_t file, VideoPlan* plan) const {
  const VisionConfig& config = models_->image()->config();
  const int side = config.patch * config.pool;
  const uint64_t resized = static_cast<uint64_t>(plan->budget) * PixelBytes(side, side);
  const auto samples =
      static_cast<int64_t>(absl::ToDoubleSeconds(options_.max_audio_duration) * kSampleRate);
  plan->kept_bytes = file + (kFfmpegVideoProcessBytes - kFfmpegVideoHeapBytes) +
                     static_cast<uint64_t>(plan->frames) * resized +
                     (plan->sound ? 3 * SampleBytes(samples) : 0);
  plan->limits.heap_bytes = kFfmpegHeapBytes;
  RETURN_IF_ERROR(CheckMemory("video", plan->Bytes(kLeastPixels)));
  const uint64_t rest = options_.decode_memory - plan->kept_bytes;
  plan->limits.heap_bytes = std::clamp(rest / 3 * 2, kFfmpegHeapBytes, kFfmpegVideoHeapBytes);
  plan->limits.max_pixels = std::min({(rest - plan->limits.heap_bytes) / kFrameBytes,
                                      options_.max_image_pixels, kMostFramePixels});
  return absl::OkStatus();
}

absl::Status EncoderImpl::BeginVideo(VideoJob& job, const RecordingCallbacks& to) {
  if (models_->image() == nullptr) return NoTower("image");
  RETURN_IF_ERROR(CheckWanted(*job.cancel, job.deadline));
  ASSIGN_OR_RETURN(const VideoPlan plan, PlanVideo(job));
  const Digest digest = ContentDigest(
      job.data,
      absl::StrCat("video:", plan.budget, ":", plan.frames, ":", plan.sound ? "sound" : "silent"),
      info_.fingerprint);
  SharedRows::Wish wish{.cancel = job.cancel, .deadline = job.deadline, .to = to};
  if (!plan.header_only) wish.digest = digest;
  wish.begin = [this, plan, digest, until = job.deadline, data = std::move(job.data)](
                   auto cancel, SharedRows::Sink sink) mutable {
    const auto video = std::make_shared<RecordingOnItsWay>(std::move(cancel), until, digest,
                                                           std::move(data), std::move(sink));
    return pipeline_.Decode(video,
                            {.rows = plan.header_only ? 0 : plan.budget,
                             .bytes = plan.Bytes(plan.limits.max_pixels),
                             .lasting = true,
                             .fenced = true},
                            [this, video, plan] { return PrepareVideo(video, plan); });
  };
  shared_.Read(std::move(wish));
  return absl::OkStatus();
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::PrepareVideo(const SharedRecording& video,
                                                              const VideoPlan& plan) {
  const absl::Duration start = SteadyNow();
  bool has_sound = false;
  video->layout = {.dim = info_.dim, .content_digest = video->digest};
  RETURN_IF_ERROR(ReadFrames(*video, plan, &has_sound));
  if (has_sound && plan.sound) RETURN_IF_ERROR(ReadSoundBeside(*video, plan));
  video->timings.preprocess = SteadyNow() - start;
  return Prepared(video, plan.header_only);
}

absl::Status EncoderImpl::ReadFrames(RecordingOnItsWay& video, const VideoPlan& plan,
                                     bool* has_sound) const {
  VideoLimits limits = plan.limits;
  limits.go_on = [&] { return video.CheckWanted(); };
  bool enough = false;
  const absl::Status status = DecodeVideo(
      video.data, plan.format, plan.frames, limits,
      {.on_header =
           [&](const VideoHeader& header) {
             *has_sound = header.has_sound;
             RETURN_IF_ERROR(LayOutFrames(header, plan.budget, &video.layout));
             video.memory.ShrinkTo(plan.Bytes(static_cast<uint64_t>(header.width) *
                                              static_cast<uint64_t>(header.height)));
             enough = plan.header_only;
             return enough ? Enough() : absl::OkStatus();
           },
       .on_frame =
           [&](const Picture& frame) {
             video.frames.push_back(ResizeBicubic(frame, ResizedSize(video.layout.frame)));
             return absl::OkStatus();
           }});
  return enough ? absl::OkStatus() : status;
}

absl::Status EncoderImpl::LayOutFrames(const VideoHeader& header, int budget,
                                       RecordingLayout* layout) const {
  ASSIGN_OR_RETURN(layout->frame, LayOutImage(header.width, header.height, budget));
  layout->duration = header.duration;
  for (const absl::Duration time : header.times) {
    layout->frames.push_back({.first_row = layout->rows, .rows = layout->frame.rows, .time = time});
    layout->rows += layout->frame.rows;
  }
  return absl::OkStatus();
}

absl::Status EncoderImpl::ReadSoundBeside(RecordingOnItsWay& video, const VideoPlan& plan) const {
  if (models_->audio() == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     "the video has a sound, and this encoder's mmproj file has no audio tower; "
                     "with without_sound its frames are taken alone",
                     {.reason = reason::kNoTower, .field = "data"});
  }
  const SoundType type{
      .format = plan.format == VideoFormat::kMp4 ? SoundFormat::kMp4 : SoundFormat::kWebm,
      .sound_alone = true};
  SoundLimits limits = LimitsOfSounds();
  limits.go_on = [&] { return video.CheckWanted(); };
  absl::StatusOr<std::vector<float>> samples = DecodeSound(video.data, type, limits);
  if (!samples.ok()) {
    return Annotate(samples.status(), "its sound, which without_sound leaves out");
  }
  video.samples = *std::move(samples);
  // One of 10 ms gives no row.
  absl::StatusOr<RecordingLayout> sound =
      LayOutSound(video.digest, static_cast<int64_t>(video.samples.size()));
  if (!sound.ok()) return absl::OkStatus();
  for (AudioSegment segment : sound->segments) {
    segment.first_row += video.layout.rows;
    video.layout.segments.push_back(segment);
  }
  video.layout.rows += sound->rows;
  return absl::OkStatus();
}

}  // namespace softsplice
