#include "tests/goldens/audio_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace softsplice::goldens {

absl::StatusOr<std::unique_ptr<AudioModel>> AudioModel::Load(const std::string& path,
                                                             const BackendOptions& options) {
  std::unique_ptr<AudioModel> model(new AudioModel);
  ASSIGN_OR_RETURN(model->file_, gguf::File::Open(path));
  ASSIGN_OR_RETURN(model->backend_, MakeBackend(options));
  ASSIGN_OR_RETURN(model->tower_, Conformer::Load(*model->file_, *model->backend_));
  return model;
}

absl::StatusOr<HostMatrix> AudioModel::Encode(const std::vector<float>& samples, MelFloor floor,
                                              const StageSink& stages) {
  const MelFrames mel = LogMel(samples, floor);
  if (mel.frames == 0) {
    return absl::InvalidArgumentError(absl::StrCat(samples.size(), " samples are no frame"));
  }
  ConformerTap tap;
  if (stages) {
    stages("mel", {mel.frames, kMelBins, mel.values});
    tap = [&](absl::string_view stage, Mat x) { stages(stage, ToHost(*backend_, x)); };
  }
  ASSIGN_OR_RETURN(std::vector<std::vector<float>> soft, tower_->Encode({&mel, 1}, tap));
  return HostMatrix{SoundTokenCount(mel.frames), tower_->config().projection_dim,
                    std::move(soft[0])};
}

}  // namespace softsplice::goldens
