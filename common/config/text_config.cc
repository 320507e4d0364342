#include "common/config/text_config.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/config/keys.h"
#include "common/config/unread.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

// Far above any model of this kind; they keep a damaged file from asking for absurd memory.
constexpr int kMaxLayers = 1024;
constexpr int kMaxDim = 1 << 16;
constexpr int kMaxHeads = 1024;
constexpr int kMaxHeadDim = 4096;
constexpr int kMaxFfn = 1 << 20;
constexpr int kMaxVocab = 1 << 22;
constexpr int kMaxContext = 1 << 24;
constexpr int kMaxPleRow = 1 << 24;

absl::Status CheckArchitecture(const gguf::File& file) {
  ASSIGN_OR_RETURN(const std::string arch, file.String("general.architecture"));
  if (arch == "gemma4") return absl::OkStatus();
  if (arch == "clip") {
    return InvalidFile(file.path(),
                       "this is an mmproj file (arch clip); --model takes the text file");
  }
  return InvalidFile(file.path(), absl::StrCat("arch ", absl::Utf8SafeCEscape(arch),
                                               " is not supported, gemma4 is"));
}

absl::Status ReadSizes(const gguf::File& file, const Keys& keys, TextConfig& c) {
  RETURN_IF_ERROR(keys.Int("block_count", 1, kMaxLayers, c.layers));
  RETURN_IF_ERROR(keys.Int("embedding_length", 1, kMaxDim, c.dim));
  RETURN_IF_ERROR(keys.Int("context_length", 1, kMaxContext, c.context_length));
  RETURN_IF_ERROR(keys.Float("attention.layer_norm_rms_epsilon", 1e-12, 0.1, c.eps));
  RETURN_IF_ERROR(keys.OptionalFloat("final_logit_softcapping", 0, 1e6, c.softcap));
  int experts = 0;
  RETURN_IF_ERROR(keys.OptionalInt("expert_count", 0, 1 << 20, experts));
  if (experts > 0) {
    return InvalidFile(file.path(),
                       "a mixture of experts; only the dense E2B and E4B kind of "
                       "gemma4 is supported");
  }
  RETURN_IF_ERROR(keys.OptionalInt("embedding_length_per_layer_input", 0, kMaxDim, c.ple_dim));
  if (c.ple_dim == 0) {
    return InvalidFile(file.path(),
                       "no per-layer embeddings; only the E2B and E4B kind of gemma4 "
                       "is supported");
  }
  if (c.layers * int64_t{c.ple_dim} > kMaxPleRow) {
    return keys.Error("embedding_length_per_layer_input", c.ple_dim,
                      absl::StrCat("at most ", kMaxPleRow, " over all layers"));
  }
  return absl::OkStatus();
}

// The size of a head; keys, values and the rotary embedding must agree on it.
absl::Status ReadHeadDim(const Keys& keys, absl::string_view suffix, int& out) {
  const std::string key = absl::StrCat("attention.key_length", suffix);
  RETURN_IF_ERROR(keys.Int(key, 2, kMaxHeadDim, out));
  if (out % 2 != 0) return keys.Error(key, out, "even");
  for (const char* same : {"attention.value_length", "rope.dimension_count"}) {
    int value = out;
    RETURN_IF_ERROR(keys.OptionalInt(absl::StrCat(same, suffix), 1, kMaxHeadDim, value));
    if (value != out) {
      return keys.Error(absl::StrCat(same, suffix), value, absl::StrCat(out, ", as ", key));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadAttention(const Keys& keys, TextConfig& c) {
  RETURN_IF_ERROR(keys.Int("attention.head_count", 1, kMaxHeads, c.heads));
  RETURN_IF_ERROR(keys.PerLayer("attention.head_count_kv", c.layers, 1, kMaxHeads, c.kv_heads));
  for (const int kv_heads : c.kv_heads) {
    if (c.heads % kv_heads != 0) {
      return keys.Error("attention.head_count_kv", kv_heads,
                        absl::StrCat("a divisor of head_count ", c.heads));
    }
  }
  RETURN_IF_ERROR(ReadHeadDim(keys, "", c.head_dim_full));
  RETURN_IF_ERROR(ReadHeadDim(keys, "_swa", c.head_dim_sliding));
  RETURN_IF_ERROR(keys.Int("attention.sliding_window", 1, kMaxContext, c.window));
  c.rope_base_full = 1e6f;
  c.rope_base_sliding = 1e4f;
  RETURN_IF_ERROR(keys.OptionalFloat("rope.freq_base", 1, 1e12, c.rope_base_full));
  return keys.OptionalFloat("rope.freq_base_swa", 1, 1e12, c.rope_base_sliding);
}

// Which layers slide: one bool per layer, or a period n: every n-th layer is full.
absl::Status ReadPattern(const gguf::File& file, const Keys& keys, TextConfig& c) {
  constexpr char kKey[] = "attention.sliding_window_pattern";
  std::vector<int> pattern;
  RETURN_IF_ERROR(keys.PerLayer(kKey, c.layers, 0, kMaxLayers, pattern));
  const bool period = !file.IsArray(absl::StrCat("gemma4.", kKey));
  if (period && pattern[0] == 0) return keys.Error(kKey, 0, "at least 1");
  for (int i = 0; i < c.layers; ++i) {
    c.is_sliding.push_back(period ? (i + 1) % pattern[i] != 0 : pattern[i] != 0);
  }
  return absl::OkStatus();
}

absl::Status ReadKvSources(const gguf::File& file, const Keys& keys, TextConfig& c) {
  RETURN_IF_ERROR(
      keys.OptionalInt("attention.shared_kv_layers", 0, c.layers - 1, c.shared_kv_layers));
  const int owners = c.layers - c.shared_kv_layers;
  for (int i = 0; i < c.layers; ++i) {
    int source = i;
    if (i >= owners) {
      source = owners - 1;
      while (source >= 0 && c.is_sliding[source] != c.is_sliding[i]) --source;
    }
    if (source < 0) {
      return InvalidFile(file.path(),
                         absl::StrCat("layer ", i, " (", c.is_sliding[i] ? "sliding" : "full",
                                      ") shares keys and values, but none of the first ", owners,
                                      " layers is of its kind"));
    }
    if (c.kv_heads[source] != c.kv_heads[i]) {
      return InvalidFile(file.path(), absl::StrCat("layer ", i, " has ", c.kv_heads[i],
                                                   " KV heads, but shares those of layer ", source,
                                                   " with ", c.kv_heads[source]));
    }
    c.kv_source.push_back(source);
  }
  return absl::OkStatus();
}

// The tensors decide; a per-layer array must agree with them, a single number need not (layers may
// differ).
absl::Status ReadFfn(const gguf::File& file, const Keys& keys, TextConfig& c) {
  std::vector<int> stated;
  if (keys.Has("feed_forward_length")) {
    RETURN_IF_ERROR(keys.PerLayer("feed_forward_length", c.layers, 1, kMaxFfn, stated));
  }
  const bool must_agree = file.IsArray("gemma4.feed_forward_length");
  for (int i = 0; i < c.layers; ++i) {
    const std::string name = absl::StrCat("blk.", i, ".ffn_gate.weight");
    ASSIGN_OR_RETURN(const gguf::Tensor* gate, file.Find(name, {c.dim, -1}));
    const int64_t rows = gate->Rows();
    if (rows > kMaxFfn || (must_agree && rows != stated[i])) {
      return InvalidFile(file.path(),
                         absl::StrCat("tensor \"", name, "\" has ", rows, " rows, expected ",
                                      must_agree ? stated[i] : kMaxFfn,
                                      must_agree ? " (feed_forward_length)" : " at most"));
    }
    c.ffn.push_back(static_cast<int>(rows));
  }
  return absl::OkStatus();
}

absl::Status ReadVocab(const gguf::File& file, TextConfig& c) {
  ASSIGN_OR_RETURN(const gguf::Tensor* table, file.Find("token_embd.weight", {c.dim, -1}));
  ASSIGN_OR_RETURN(const gguf::Strings* tokens, file.StringList("tokenizer.ggml.tokens"));
  if (table->Rows() > kMaxVocab || static_cast<size_t>(table->Rows()) != tokens->size()) {
    return InvalidFile(file.path(),
                       absl::StrCat("token_embd.weight has ", table->Rows(), " rows for ",
                                    tokens->size(), " tokens (the limit is ", kMaxVocab, ")"));
  }
  c.vocab = static_cast<int>(table->Rows());
  c.own_head = file.FindOptional("output.weight") != nullptr;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TextConfig> TextConfig::FromGguf(const gguf::File& file) {
  RETURN_IF_ERROR(CheckArchitecture(file));
  const Keys keys(file, "gemma4.");
  TextConfig c;
  c.name = ModelName(file);
  RETURN_IF_ERROR(ReadSizes(file, keys, c));
  RETURN_IF_ERROR(ReadAttention(keys, c));
  RETURN_IF_ERROR(ReadPattern(file, keys, c));
  RETURN_IF_ERROR(ReadKvSources(file, keys, c));
  RETURN_IF_ERROR(ReadFfn(file, keys, c));
  RETURN_IF_ERROR(ReadVocab(file, c));
  RETURN_IF_ERROR(CheckArithmetic(file, c.layers));
  return c;
}

}  // namespace softsplice
