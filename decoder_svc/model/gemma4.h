// The gemma4 text trunk: token ids and soft tokens in, logits out, in one forward pass over a
// ragged batch. Source of the formulas: transformers' Gemma4TextModel and Gemma4ForCausalLM.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/text_config.h"
#include "common/gguf/file.h"
#include "kernels/arena.h"
#include "kernels/backend.h"

namespace softsplice {

// What one pass reads: rows of any number of sequences, prompt chunks and single tokens mixed. All
// of it lies in the backend's memory.
struct Step {
  Mat tokens;      // kI32 [rows]: kMediaToken where soft tokens and placeholders stand
  RowMap rows;     // of each row
  Mat soft;        // float32 [soft rows, dim]
  Mat soft_index;  // kI32 [soft rows]: the rows that they are
  Mat tail_index;  // kI32 [tail rows]: the rows that need logits, ascending
  RowMap tail;     // of each tail row
  KvPages full;
  KvPages sliding;
};

// Keys and values of all layers that own some.
struct KvCache {
  std::vector<KvLayer> layers;  // one per layer, empty for those that read another layer's
  std::shared_ptr<void> memory;
};

// Sees the stages of a pass while they are valid, for comparisons with a reference: "embed",
// "per_layer_inputs", "layer0" ... (after the layer's scale), "norm" (of the backend's Operands()),
// "logits". Layers after the last one that owns keys and values, and what follows, have tail rows
// only. What it reads must be waited for.
using Tap = std::function<void(absl::string_view stage, Mat x)>;

class Gemma4 {
 public:
  // Reads the hyperparameters, checks the shapes of all tensors and packs them.
  // FAILED_PRECONDITION: not such a model. RESOURCE_EXHAUSTED: memory is short. `file` and
  // `backend` outlive the model; embedding tables are read from the mapped file.
  static absl::StatusOr<std::unique_ptr<Gemma4>> Load(const gguf::File& file, Backend& backend);
  Gemma4(const Gemma4&) = delete;
  Gemma4& operator=(const Gemma4&) = delete;

  const TextConfig& config() const { return config_; }

  // Caches of `full_rows` and `sliding_rows` positions (all blocks together) for each layer of that
  // kind, kF16 or kF32. RESOURCE_EXHAUSTED: memory is short.
  absl::StatusOr<KvCache> AllocateCache(Backend& backend, int full_rows, int sliding_rows,
                                        DType type) const;
  // Copies rows of the caches of all layers of one kind to others. numbers: kI32, 0, 1, ... as many
  // as are to be copied.
  void CopyRows(Backend& backend, const KvCache& cache, bool sliding, int from, int to,
                Mat numbers) const;
  // What one cached position takes in all full or all sliding layers.
  size_t CacheBytesPerRow(bool sliding, DType type) const;

  // `logits`: float32 [tail rows, vocabulary]. Appends the rows' keys and values to `cache`. Rows
  // that need no logits stop after the last layer that owns keys and values: later layers leave
  // nothing behind that another row reads.
  void Forward(Backend& backend, Arena& arena, Mat logits, const Step& step, const KvCache& cache,
               const Tap& tap = {}) const;

  // The arena that Forward over `backend` and its logits need for steps up to this size.
  size_t WorkspaceBytes(const Backend& backend, int rows, int tail_rows) const;

 private:
  struct Layer {
    Weight attention_norm, q, k, v, output, q_norm, k_norm, attention_post_norm;
    Weight ffn_norm, gate, up, down, ffn_post_norm;
    Weight ple_gate, ple_projection, ple_post_norm;
    Weight scale;
    AttentionSpec attention;
    RopeSpec rope;
    bool sliding = false;
    int kv_source = 0;  // the layer whose keys and values it reads: itself if it owns some
    int ffn = 0;
  };

  explicit Gemma4(TextConfig config) : config_(std::move(config)) {}
  absl::Status LoadTop(const gguf::File& file, Backend& backend);
  absl::StatusOr<Layer> LoadLayer(const gguf::File& file, Backend& backend, int index) const;

  Mat PerLayerInputs(Backend& b, Arena& a, Mat tokens, Mat x) const;
  void RunLayer(Backend& b, Arena& a, int index, const RowMap& rows, const Step& step,
                const KvCache& cache, Mat x, Mat normed, Mat ple) const;
  void Attend(Backend& b, Arena& a, const Layer& layer, bool owns_kv, const RowMap& rows,
              const KvPages& pages, const KvLayer& kv, Mat h, Mat normed) const;
  void Logits(Backend& b, Mat logits, Mat normed, const Tap& tap) const;

  TextConfig config_;
  Weight token_table_;           // [vocabulary, dim]
  Weight head_;                  // the same matrix, packed for the logits, or one of its own
  Weight per_layer_table_;       // [vocabulary, layers * ple]
  Weight per_layer_projection_;  // [layers * ple, dim]
  Weight per_layer_norm_;        // [ple]
  Weight output_norm_;           // [dim]
  Weight rope_factors_;          // [full head / 2], of the full layers
  std::vector<Layer> layers_;
  int last_owner_ = 0;  // the last layer that owns keys and values
};

}  // namespace softsplice
