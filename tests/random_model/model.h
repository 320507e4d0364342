// Gemma 4 E4B and E2B as random files: which tensors and metadata a text file and an mmproj file
// have, and how large the numbers are, so that activations stay as they are in a trained model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gguf/types.h"
#include "tests/common/gguf/gguf_writer.h"

namespace softsplice::random_model {

struct Tensor {
  std::string name;
  gguf::Type type = gguf::Type::kF32;
  std::vector<uint64_t> dims;  // in ggml's order
  float deviation = 0;         // of random numbers, where there are no
  std::vector<float> values;   // of our own (type F32)

  uint64_t Bytes() const;
};

struct Model {
  gguf::GgufWriter metadata;
  std::vector<Tensor> tensors;

  uint64_t Bytes() const;  // of all tensors
};

// E4B's by default. Layers come in groups, the last of which sees all positions; the last groups
// share the keys and values of layers before them.
struct TextShape {
  int layers = 42;
  int dim = 2560;
  int ffn = 10240;
  int heads = 8;
  int kv_heads = 2;
  int head_dim = 256;  // of sliding layers; full ones have twice as many
  int ple_dim = 256;
  int window = 512;
  int group = 6;             // layers
  int sharing_of_seven = 3;  // groups
  int sharing_ffn = 1;       // times ffn: of the layers that share
};
inline constexpr TextShape kE2BText{.layers = 35,
                                    .dim = 1536,
                                    .ffn = 6144,
                                    .kv_heads = 1,
                                    .group = 5,
                                    .sharing_of_seven = 4,
                                    .sharing_ffn = 2};
// Every size is a multiple of 256, as quantised types need it.
inline constexpr TextShape kSmallText{
    .layers = 6, .dim = 256, .ffn = 512, .heads = 4, .head_dim = 64, .window = 64};
// About a twentieth of E4B's work, for what is to be measured in minutes.
inline constexpr TextShape kMediumText{
    .layers = 18, .dim = 768, .ffn = 3072, .heads = 4, .head_dim = 128};

struct TowerShape {
  int layers, dim, ffn, heads;
};
struct MmprojShape {
  TowerShape image{16, 768, 3072, 12};
  int positions = 10240;  // along a side
  TowerShape sound{12, 1024, 4096, 8};
  int sound_out = 1536;
  int projection_dim = 2560;
};
inline constexpr MmprojShape kE2BMmproj{.projection_dim = kE2BText.dim};
inline constexpr MmprojShape kSmallMmproj{{2, 256, 512, 4}, 256, {2, 256, 1024, 4}, 256, 256};
inline constexpr MmprojShape kMediumMmproj{{4, 256, 1024, 4}, 256, {4, 256, 1024, 4}, 256, 768};

// `type` names a tensor type, for all linear layers, or the mixture Q4_K_M. As in llama.cpp's files
// of types with fewer bits the token tables are Q6_K, and norms and scalars F32. INVALID_ARGUMENT:
// no such type.
absl::StatusOr<Model> TextModel(const TextShape& shape, absl::string_view type,
                                gguf::GgufWriter vocabulary, int tokens);
absl::StatusOr<Model> MmprojModel(const MmprojShape& shape, absl::string_view type);

// A vocabulary with the model's special tokens, all bytes and meaningless words: `tokens` in all.
gguf::GgufWriter MadeUpVocabulary(int tokens);
// That of a GGUF file, and its size.
struct Vocabulary {
  gguf::GgufWriter metadata;
  int tokens;
};
absl::StatusOr<Vocabulary> VocabularyOf(const std::string& path);

}  // namespace softsplice::random_model
