// The gemma4a audio tower and its projector: log-mel frames in, soft tokens out, in one forward
// pass over sounds of any lengths. Source of the formulas: transformers' Gemma4AudioModel and
// Gemma4MultimodalEmbedder. Their clamps to +-1e10, which keep half precision from overflowing, are
// left out.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/config/audio_config.h"
#include "common/gguf/file.h"
#include "encoder_svc/audio/mel.h"
#include "encoder_svc/model/workspace.h"
#include "kernels/arena.h"
#include "kernels/backend.h"

namespace softsplice {

// Sees the stages of a pass while they are valid, for comparisons with a reference: "subsample",
// "block0", "block_last", "output_proj", "projector". What it reads must be waited for.
using ConformerTap = std::function<void(absl::string_view stage, Mat x)>;

// One backend, one calling thread.
class Conformer {
 public:
  // Reads the hyperparameters, checks the shapes of all tensors and packs them.
  // FAILED_PRECONDITION: not such a model. RESOURCE_EXHAUSTED: memory is short. `backend` outlives
  // the tower.
  static absl::StatusOr<std::unique_ptr<Conformer>> Load(const gguf::File& file, Backend& backend);
  Conformer(const Conformer&) = delete;
  Conformer& operator=(const Conformer&) = delete;

  const AudioConfig& config() const { return config_; }

  // Takes the memory for passes up to this one now. RESOURCE_EXHAUSTED: memory is short.
  absl::Status Reserve(absl::Span<const MelFrames> sounds);

  // Soft tokens of each sound, float32 [SoundTokenCount(frames), projection_dim]. Every sound has a
  // frame. The workspace grows to the largest pass seen. RESOURCE_EXHAUSTED: memory is short.
  absl::StatusOr<std::vector<std::vector<float>>> Encode(absl::Span<const MelFrames> sounds,
                                                         const ConformerTap& tap = {});

 private:
  struct Convolution {
    Weight kernel, norm;
  };
  struct HalfStep {
    Weight norm, up, down, half_post_norm;
  };
  struct Layer {
    HalfStep first, second;
    Weight attention_norm, q, k, v, q_scale, output, attention_post_norm;
    Mat relative;  // keys of the distances, [context, dim]
    Weight convolution_norm, convolution_in, depthwise, depthwise_norm, convolution_out;
    Weight output_norm;
  };

  Conformer(AudioConfig config, Backend& backend)
      : config_(std::move(config)), backend_(backend), workspace_(backend) {}
  absl::Status LoadTop(const gguf::File& file);
  absl::StatusOr<Layer> LoadLayer(const gguf::File& file, int index) const;
  absl::Status LoadRelativeKeys(const gguf::File& file);

  Mat Forward(Backend& b, Arena& a, absl::Span<const MelFrames> sounds,
              const ConformerTap& tap) const;
  void Subsample(Backend& b, Arena& a, absl::Span<const MelFrames> sounds, Mat x) const;
  void Convolve(Backend& b, Arena& a, const Convolution& c, Mat x, Mat y) const;
  void FeedForward(Backend& b, Arena& a, const HalfStep& s, Mat h, Mat normed) const;
  void Attend(Backend& b, Arena& a, const Layer& l, Mat starts, Mat h, Mat normed) const;
  void LightConvolve(Backend& b, Arena& a, const Layer& l, Mat starts, Mat h, Mat normed) const;
  void RunLayer(Backend& b, Arena& a, const Layer& l, Mat starts, Mat x) const;

  AudioConfig config_;
  Backend& backend_;
  Convolution convolutions_[2];
  Weight input_projection_, output_projection_, output_bias_, projector_;
  std::vector<Layer> layers_;
  std::shared_ptr<void> relative_keys_;  // all layers'
  Workspace workspace_;
};

}  // namespace softsplice
