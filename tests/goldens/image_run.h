// Runs pictures through preprocessing and the image tower alone, the way goldens ask for it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "encoder_svc/image/picture.h"
#include "encoder_svc/model/vit.h"
#include "kernels/backend_factory.h"
#include "tests/goldens/text_run.h"

namespace softsplice::goldens {

struct ImageResult {
  HostMatrix soft;
  int width = 0;  // that the tower saw
  int height = 0;
};

// A loaded image tower.
class ImageModel {
 public:
  // `quick_gelu`: llama.cpp's activation.
  static absl::StatusOr<std::unique_ptr<ImageModel>> Load(const std::string& path,
                                                          const BackendOptions& options,
                                                          bool quick_gelu);
  // Budget 0: at its own size. `stages` may be null.
  absl::StatusOr<ImageResult> Encode(const Picture& picture, int budget, const StageSink& stages);

 private:
  ImageModel() = default;

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Vit> vit_;
};

}  // namespace softsplice::goldens
