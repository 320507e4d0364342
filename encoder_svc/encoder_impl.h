// The encoder engine's insides: the steps of a picture (encoder_image.cc), a sound
// (encoder_audio.cc) and a video (encoder_video.cc), and what the last two share
// (encoder_recording.cc).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/gguf/file.h"
#include "encoder_svc/audio/decode.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/image/header.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/image/picture.h"
#include "encoder_svc/image/resize.h"
#include "encoder_svc/model_pool.h"
#include "encoder_svc/pass_record.h"
#include "encoder_svc/pipeline.h"
#include "encoder_svc/shared_rows.h"
#include "encoder_svc/video/decode.h"

namespace softsplice {

class EncoderImpl final : public Encoder {
 public:
  EncoderImpl(const EncoderOptions& options, std::unique_ptr<gguf::File> file,
              std::unique_ptr<ModelPool> models, const EncoderInfo& info);
  ~EncoderImpl() override { Shutdown(); }

  // A pass of each tower; before any medium.
  absl::Status Try() { return models_->Try(pipeline_.backlog()); }

  void EncodeImage(ImageJob job, ImageDone done) override;
  void EncodeAudio(AudioJob job, RecordingCallbacks callbacks) override;
  void EncodeVideo(VideoJob job, RecordingCallbacks callbacks) override;
  const EncoderInfo& info() const override { return info_; }
  EncoderLoadFigures load() const override;
  absl::Duration last_step() const override { return pipeline_.busy_since(); }
  absl::Status health() const override;
  void Shutdown() override;

 private:
  using Answer = Pipeline::Answer;

  struct ImageOnItsWay;
  using SharedImage = std::shared_ptr<ImageOnItsWay>;
  // What the file's header tells.
  struct ImagePlan {
    ImageHeader header;
    ImageLayout layout;
  };
  static absl::StatusOr<int> Budget(int max_soft_tokens, int default_budget);
  // Of an upright picture of this size. INVALID_ARGUMENT: it is too narrow for a row.
  absl::StatusOr<ImageLayout> LayOutImage(int width, int height, int budget) const;
  absl::StatusOr<ImagePlan> PlanImage(const ImageJob& job) const;
  // Refuses the picture, or answers it now or later. Takes the job's data.
  absl::Status BeginImage(ImageJob& job, const ImageDone& done);
  absl::StatusOr<Answer> PrepareImage(const SharedImage& image);
  Pipeline::Alike LikeIt(const ImageLayout& layout) const;
  absl::StatusOr<Answer> RunImages(const Pipeline::Media& media);

  struct RecordingOnItsWay;
  using SharedRecording = std::shared_ptr<RecordingOnItsWay>;
  // Begins to encode one whose rows are known, after its layout was told.
  void EncodeNext(const SharedRecording& recording);
  absl::StatusOr<Answer> RunNext(const SharedRecording& recording);
  using Runs = std::vector<std::vector<float>>;
  absl::StatusOr<Runs> RunFrames(RecordingOnItsWay& video);
  absl::StatusOr<Runs> RunSegment(RecordingOnItsWay& recording);
  // The answer that tells what is known before the first run.
  Answer Prepared(const SharedRecording& recording, bool header_only);
  // The receiver has room again.
  void GoOn(const SharedRecording& recording);

  absl::Status BeginSound(AudioJob& job, const RecordingCallbacks& to);  // as BeginImage
  // What is known once the number of samples is.
  absl::StatusOr<RecordingLayout> LayOutSound(const Digest& digest, int64_t samples) const;
  absl::StatusOr<Answer> PrepareSound(const SharedRecording& sound, const SoundType& type,
                                      bool header_only);

  // What is asked for of a video.
  struct VideoPlan {
    VideoFormat format = VideoFormat::kMp4;
    int budget = 0;
    int frames = 0;
    bool sound = true;
    bool header_only = false;
    VideoLimits limits;
    uint64_t kept_bytes = 0;  // besides FFmpeg's heap and a frame
    // Of all, with a frame of so many pixels.
    uint64_t Bytes(uint64_t pixels) const;
  };
  absl::StatusOr<VideoPlan> PlanVideo(const VideoJob& job) const;
  // Shares out what decoding may take. RESOURCE_EXHAUSTED: it is too little.
  absl::Status MakeRoom(uint64_t file, VideoPlan* plan) const;
  absl::Status BeginVideo(VideoJob& job, const RecordingCallbacks& to);  // as BeginImage
  absl::StatusOr<Answer> PrepareVideo(const SharedRecording& video, const VideoPlan& plan);
  absl::Status ReadFrames(RecordingOnItsWay& video, const VideoPlan& plan, bool* has_sound) const;
  absl::Status ReadSoundBeside(RecordingOnItsWay& video, const VideoPlan& plan) const;
  absl::Status LayOutFrames(const VideoHeader& header, int budget, RecordingLayout* layout) const;

  void NotePass(const absl::Status& pass) {
    passes_.Note(pass);
    options_.on_pass(pass);
  }
  SoundLimits LimitsOfSounds() const;
  // Of so many rows.
  uint64_t RowBytes(int rows) const {
    return static_cast<uint64_t>(rows) * static_cast<uint64_t>(info_.dim) * sizeof(float);
  }
  // RESOURCE_EXHAUSTED: decoding takes more than there is for all media.
  absl::Status CheckMemory(absl::string_view what, uint64_t bytes) const;

  const EncoderOptions options_;
  const std::unique_ptr<gguf::File> file_;  // the image tower reads its position table from it
  const std::unique_ptr<ModelPool> models_;
  const EncoderInfo info_;

  SharedRows shared_;
  PassRecord passes_;
  Pipeline pipeline_;  // last: its threads use all of the above
};

PictureSize ResizedSize(const ImageLayout& layout);
uint64_t PixelBytes(int width, int height);
// Of the patches of a picture of this size.
uint64_t PatchBytes(PictureSize size);
// Of so many samples.
uint64_t SampleBytes(int64_t samples);

// What is the same for all media.
absl::Status NoTower(absl::string_view medium);
// CANCELLED, DEADLINE_EXCEEDED: nobody waits for it any more.
absl::Status CheckWanted(const CancelToken& cancel, absl::Duration deadline);

}  // namespace softsplice
