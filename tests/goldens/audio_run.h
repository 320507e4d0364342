// Runs sounds through preprocessing and the audio tower alone, the way goldens ask for it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "encoder_svc/model/conformer.h"
#include "kernels/backend_factory.h"
#include "tests/goldens/text_run.h"

namespace softsplice::goldens {

// A loaded audio tower.
class AudioModel {
 public:
  static absl::StatusOr<std::unique_ptr<AudioModel>> Load(const std::string& path,
                                                          const BackendOptions& options);
  // Soft tokens of at most 30 s of samples. `stages` may be null; it sees "mel" too.
  absl::StatusOr<HostMatrix> Encode(const std::vector<float>& samples, MelFloor floor,
                                    const StageSink& stages);

 private:
  AudioModel() = default;

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Conformer> tower_;
};

}  // namespace softsplice::goldens
