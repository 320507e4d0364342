// The encoder engine's insides: the steps of a picture (encoder_image.cc) and of a sound
// (encoder_audio.cc).
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

namespace softsplice {

class EncoderImpl final : public Encoder {
 public:
  EncoderImpl(const EncoderOptions& options, std::unique_ptr<gguf::File> file,
              std::unique_ptr<ModelPool> models, const EncoderInfo& info);
  ~EncoderImpl() override { Shutdown(); }

  // A pass of each tower; before any medium.
  absl::Status Try() { return models_->Try(pipeline_.backlog()); }

  void EncodeImage(ImageJob job, ImageDone done) override;
  void EncodeAudio(AudioJob job, AudioCallbacks callbacks) override;
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
    PictureSize size;     // of the resized picture
    EncodedImage layout;  // all but digest, values and timings
  };
  absl::StatusOr<ImagePlan> PlanImage(const ImageJob& job) const;
  // Refuses the picture, or answers it now or later. Takes the job's data.
  absl::Status BeginImage(ImageJob& job, const ImageDone& done);
  absl::StatusOr<Answer> PrepareImage(const SharedImage& image);
  Pipeline::Alike LikeIt(const ImagePlan& plan) const;
  absl::StatusOr<Answer> RunImages(const Pipeline::Media& media);

  struct SoundOnItsWay;
  using SharedSound = std::shared_ptr<SoundOnItsWay>;
  absl::Status BeginSound(AudioJob& job, const AudioCallbacks& to);  // as BeginImage
  // What is known once the number of samples is.
  absl::StatusOr<AudioLayout> LayOut(const Digest& digest, int64_t samples) const;
  absl::StatusOr<Answer> PrepareSound(const SharedSound& sound, bool header_only);
  void EncodeNext(const SharedSound& sound);
  absl::StatusOr<Answer> RunSegment(const SharedSound& sound);
  // The receiver has room again.
  void GoOn(const SharedSound& sound);

  void NotePass(const absl::Status& pass) {
    passes_.Note(pass);
    options_.on_pass(pass);
  }
  SoundLimits LimitsOfSounds() const;
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

// What is the same for all media.
absl::Status NoTower(absl::string_view medium);
// CANCELLED, DEADLINE_EXCEEDED: nobody waits for it any more.
absl::Status CheckWanted(const CancelToken& cancel, absl::Duration deadline);

}  // namespace softsplice
