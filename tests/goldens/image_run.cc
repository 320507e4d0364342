#include "tests/goldens/image_run.h"

#include "common/status/macros.h"
#include "encoder_svc/image/resize.h"

namespace softsplice::goldens {

absl::StatusOr<std::unique_ptr<ImageModel>> ImageModel::Load(const std::string& path,
                                                             const BackendOptions& options,
                                                             bool quick_gelu) {
  std::unique_ptr<ImageModel> model(new ImageModel);
  ASSIGN_OR_RETURN(model->file_, gguf::File::Open(path));
  ASSIGN_OR_RETURN(model->backend_, MakeBackend(options));
  ASSIGN_OR_RETURN(model->vit_, Vit::Load(*model->file_, *model->backend_,
                                          quick_gelu ? Gelu::kQuick : Gelu::kTanh));
  return model;
}

absl::StatusOr<ImageResult> ImageModel::Encode(const Picture& picture, int budget,
                                               const StageSink& stages) {
  const VisionConfig& config = vit_->config();
  PictureSize size{picture.width, picture.height};
  if (budget > 0) {
    ASSIGN_OR_RETURN(size,
                     TargetSize(picture.width, picture.height, budget, config.patch, config.pool));
  }
  const Patches patches =
      MakePatches(budget > 0 ? ResizeBicubic(picture, size) : picture, config.patch);
  VitTap tap;
  if (stages) tap = [&](absl::string_view stage, Mat x) { stages(stage, ToHost(*backend_, x)); };
  ASSIGN_OR_RETURN(std::vector<std::vector<float>> soft, vit_->Encode({&patches, 1}, tap));
  const int rows = static_cast<int>(soft[0].size()) / config.projection_dim;
  return ImageResult{{rows, config.projection_dim, std::move(soft[0])}, size.width, size.height};
}

}  // namespace softsplice::goldens
