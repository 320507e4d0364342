// The hyperparameters of a gemma4 text model, read once from its GGUF file and checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"

namespace softsplice {

// What stands for a medium's rows, and for placeholders, where there are tokens: the row of the
// per-layer table that they take (Gemma4Model.forward: pad_token_id of the text config, which is
// that of the releases whatever a tokenizer pads with).
inline constexpr int32_t kMediaToken = 0;

// All sizes are positive and small enough that products of any three fit in 64 bits and the rows
// of every matrix in an int. Vectors have one entry per layer.
struct TextConfig {
  std::string name;
  int layers = 0;
  int dim = 0;
  int vocab = 0;
  int context_length = 0;

  int heads = 0;
  std::vector<int> kv_heads;  // divide heads
  int head_dim_full = 0;      // even
  int head_dim_sliding = 0;   // even
  int window = 0;             // a row of a sliding layer sees itself and the window - 1 before it
  std::vector<bool> is_sliding;
  // The layer whose keys and values a layer reads: itself, or for the last shared_kv_layers the
  // last layer of its own kind that owns some.
  std::vector<int> kv_source;
  int shared_kv_layers = 0;
  float rope_base_full = 0;
  float rope_base_sliding = 0;

  std::vector<int> ffn;
  int ple_dim = 0;        // per-layer embeddings
  float eps = 0;          // of all RMS norms
  float softcap = 0;      // of the logits; 0 means none
  bool own_head = false;  // an output.weight, which is not the token table

  bool OwnsKv(int layer) const { return kv_source[layer] == layer; }
  int HeadDim(int layer) const { return is_sliding[layer] ? head_dim_sliding : head_dim_full; }

  // FAILED_PRECONDITION (InvalidFile): another kind of file, or a value that is missing, out of
  // range or at odds with the tensors.
  static absl::StatusOr<TextConfig> FromGguf(const gguf::File& file);
};

}  // namespace softsplice
