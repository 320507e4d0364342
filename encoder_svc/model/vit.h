// The gemma4v image tower and its projector: patches in, soft tokens out, in one forward pass over
// pictures of any sizes. Source of the formulas: transformers' Gemma4VisionModel and
// Gemma4MultimodalEmbedder.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/config/vision_config.h"
#include "common/gguf/file.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/model/workspace.h"
#include "kernels/arena.h"
#include "kernels/backend.h"

namespace softsplice {

// Sees the stages of a pass while they are valid, for comparisons with a reference: "patch_embed",
// "pos_embed", "block0", "block_last", "pool" (scaled), "projector". What it reads must be waited
// for.
using VitTap = std::function<void(absl::string_view stage, Mat x)>;

// One backend, one calling thread.
class Vit {
 public:
  // Reads the hyperparameters, checks the shapes of all tensors and packs them. `gelu` is kTanh
  // but for cross-checks. FAILED_PRECONDITION: not such a model. RESOURCE_EXHAUSTED: memory is
  // short. `file` and `backend` outlive the tower; the position table is read from the mapped file.
  static absl::StatusOr<std::unique_ptr<Vit>> Load(const gguf::File& file, Backend& backend,
                                                   Gelu gelu);
  Vit(const Vit&) = delete;
  Vit& operator=(const Vit&) = delete;

  const VisionConfig& config() const { return config_; }

  // INVALID_ARGUMENT: the grid is longer than the position table.
  absl::Status CheckGrid(int columns, int rows) const;

  // Takes the memory for passes up to this one now. RESOURCE_EXHAUSTED: memory is short.
  absl::Status Reserve(absl::Span<const Patches> pictures);

  // Soft tokens of each picture, float32 [grid_rows / pool * grid_columns / pool, projection_dim].
  // The pictures passed CheckGrid and their grids' sides are multiples of config().pool. The
  // workspace grows to the largest pass seen. RESOURCE_EXHAUSTED: memory is short.
  absl::StatusOr<std::vector<std::vector<float>>> Encode(absl::Span<const Patches> pictures,
                                                         const VitTap& tap = {});

 private:
  struct Layer {
    Weight attention_norm, q, k, v, output, q_norm, k_norm, attention_post_norm;
    Weight ffn_norm, gate, up, down, ffn_post_norm;
  };
  // What a pass reads besides pixels, in the backend's memory.
  struct Batch {
    Mat columns;  // kI32 [patches]
    Mat rows;     // kI32 [patches]
    Mat starts;   // kI32 [pictures + 1]
  };

  Vit(VisionConfig config, Backend& backend, Gelu gelu)
      : config_(std::move(config)), backend_(backend), gelu_(gelu), workspace_(backend) {}
  absl::Status LoadTop(const gguf::File& file);
  absl::StatusOr<Layer> LoadLayer(const gguf::File& file, int index) const;
  absl::Status LoadStandardization(const gguf::File& file);

  Mat Forward(Backend& b, Arena& a, absl::Span<const Patches> pictures, const VitTap& tap) const;
  Batch UploadBatch(Backend& b, Arena& a, absl::Span<const Patches> pictures) const;
  void EmbedPatches(Backend& b, Arena& a, absl::Span<const Patches> pictures, const Batch& batch,
                    Mat x, const VitTap& tap) const;
  void Attend(Backend& b, Arena& a, const Layer& l, const Batch& batch, Mat h, Mat normed) const;
  void FeedForward(Backend& b, Arena& a, const Layer& l, Mat h, Mat normed) const;
  void RunLayer(Backend& b, Arena& a, size_t index, const Batch& batch, Mat x, Mat normed) const;
  void Standardize(Backend& b, Mat pooled) const;

  VisionConfig config_;
  Backend& backend_;
  Gelu gelu_;
  Weight patch_projection_, column_table_, row_table_, projector_;
  std::vector<Layer> layers_;
  // Larger models than E4B: pooled rows become (x - bias) * scale. Empty if there is none.
  Weight minus_bias_, scale_;
  Workspace workspace_;
};

}  // namespace softsplice
