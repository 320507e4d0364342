#include "common/config/unread.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/config/keys.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr absl::string_view kPrefix = "gemma4.";

// That TextConfig reads, and those that say nothing of the arithmetic.
constexpr absl::string_view kKeys[] = {
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.key_length_swa",
    "attention.layer_norm_rms_epsilon",
    "attention.shared_kv_layers",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.value_length",
    "attention.value_length_swa",
    "block_count",
    "context_length",
    "embedding_length",
    "embedding_length_per_layer_input",
    "expert_count",
    "feed_forward_length",
    "final_logit_softcapping",
    "rope.dimension_count",
    "rope.dimension_count_swa",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.factor",
    "rope.scaling.type",
    "vocab_size",
};

constexpr absl::string_view kTensors[] = {
    "output.weight",     "output_norm.weight",          "per_layer_model_proj.weight",
    "rope_freqs.weight", "per_layer_token_embd.weight", "per_layer_proj_norm.weight",
    "token_embd.weight",
};

constexpr absl::string_view kLayerTensors[] = {
    "attn_k.weight",
    "attn_k_norm.weight",
    "attn_norm.weight",
    "attn_output.weight",
    "attn_q.weight",
    "attn_q_norm.weight",
    "attn_v.weight",
    "ffn_down.weight",
    "ffn_gate.weight",
    "ffn_norm.weight",
    "ffn_up.weight",
    "inp_gate.weight",
    "layer_output_scale.weight",
    "post_attention_norm.weight",
    "post_ffw_norm.weight",
    "post_norm.weight",
    "proj.weight",
};

// "blk.7.proj.weight": 7 and "proj.weight". -1: of no layer.
std::pair<int, absl::string_view> SplitName(absl::string_view tensor) {
  const std::vector<absl::string_view> parts = absl::StrSplit(tensor, absl::MaxSplits('.', 2));
  int layer = -1;
  if (parts.size() < 3 || parts[0] != "blk" || !absl::SimpleAtoi(parts[1], &layer)) return {-1, ""};
  return {layer, parts[2]};
}

absl::Status CheckRopeScaling(const gguf::File& file) {
  const std::string key = absl::StrCat(kPrefix, "rope.scaling.type");
  std::string type = "linear";  // as llama.cpp takes a factor alone
  if (file.Has(key)) {
    ASSIGN_OR_RETURN(type, file.String(key));
  }
  float factor = type == "linear" ? 1 : 0;
  const Keys keys(file, kPrefix);
  RETURN_IF_ERROR(keys.OptionalFloat("rope.scaling.factor", 0, 1e6, factor));
  if (type == "none" || (type == "linear" && (factor == 1 || factor == 0))) {
    return absl::OkStatus();
  }
  return InvalidFile(file.path(),
                     absl::StrCat(key, " is ", absl::Utf8SafeCEscape(type), " with a factor of ",
                                  factor, "; scaled positions are not supported"));
}

}  // namespace

absl::Status CheckArithmetic(const gguf::File& file, int layers) {
  RETURN_IF_ERROR(CheckRopeScaling(file));
  for (const gguf::Tensor& tensor : file.tensors()) {
    const auto [layer, name] = SplitName(tensor.name);
    if (layer < 0 || (layer < layers && absl::c_linear_search(kLayerTensors, name))) continue;
    return InvalidFile(file.path(),
                       absl::StrCat("tensor \"", absl::Utf8SafeCEscape(tensor.name), "\" is ",
                                    layer < layers ? "of a kind that gemma4's layers do not have"
                                                   : absl::StrCat("of a layer beyond the ", layers,
                                                                  " of gemma4.block_count")));
  }
  return absl::OkStatus();
}

std::vector<std::string> UnreadNames(const gguf::File& file) {
  std::vector<std::string> names;
  for (const auto& [key, value] : file.metadata()) {
    absl::string_view own = key;
    if (absl::ConsumePrefix(&own, kPrefix) && !absl::c_linear_search(kKeys, own)) {
      names.push_back(key);
    }
  }
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (SplitName(tensor.name).first < 0 && !absl::c_linear_search(kTensors, tensor.name)) {
      names.push_back(tensor.name);
    }
  }
  return names;
}

}  // namespace softsplice
