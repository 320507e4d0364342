// See validate.h.
#include "decoder_svc/engine/validate.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/sampler.h"

namespace softsplice {
namespace {

// A run of soft tokens: inside the prompt, after the run before it, complete and finite, or by name
// alone where that may be in the cache.
absl::Status CheckSoftRun(const SoftRun& run, int begin, int prompt_tokens, int dim, bool cached) {
  if (run.rows < 1 || run.first < begin || run.rows > prompt_tokens - run.first) {
    return InvalidField("prompt", absl::StrCat("soft tokens at ", run.first, ", ", run.rows,
                                               " rows: must lie between position ", begin, " and ",
                                               prompt_tokens, ", the end of the prompt"));
  }
  if (run.values == nullptr && !run.name.empty() && cached) return absl::OkStatus();
  const size_t size = run.values == nullptr ? 0 : run.values->size();
  const size_t needed = static_cast<size_t>(run.rows) * static_cast<size_t>(dim);
  if (size != needed) {
    return InvalidField(
        "prompt", absl::StrCat("soft tokens at ", run.first, ": ", size, " values; ", run.rows,
                               " rows of width ", dim, " have ", needed));
  }
  for (size_t i = 0; i < size; ++i) {
    if (std::isfinite((*run.values)[i])) continue;
    return InvalidField("prompt", absl::StrCat("soft tokens at ", run.first, ": value ", i, " is ",
                                               (*run.values)[i], ", not a finite number"));
  }
  return absl::OkStatus();
}

absl::Status CheckPrompt(const Prompt& prompt, bool cached, const RequestLimits& limits) {
  if (prompt.tokens.empty()) return InvalidField("prompt", "the prompt is empty");
  if (prompt.tokens.size() > static_cast<size_t>(limits.context_length)) {
    return MakeError(absl::StatusCode::kOutOfRange,
                     absl::StrCat("the prompt has ", prompt.tokens.size(),
                                  " tokens; the context holds ", limits.context_length),
                     {.reason = reason::kPromptTooLong, .field = "prompt"});
  }
  const int tokens = static_cast<int>(prompt.tokens.size());
  int position = 0;
  const auto check_ids = [&](int end) -> absl::Status {
    for (; position < end; ++position) {
      const int32_t id = prompt.tokens[position];
      if (id >= 0 && id < limits.vocabulary_size) continue;
      return InvalidField("prompt",
                          absl::StrCat("token ", position, " has id ", id, "; ids go from 0 to ",
                                       limits.vocabulary_size - 1));
    }
    return absl::OkStatus();
  };
  for (const SoftRun& run : prompt.soft) {
    RETURN_IF_ERROR(CheckSoftRun(run, position, tokens, limits.dim, cached));
    RETURN_IF_ERROR(check_ids(run.first));
    position = run.first + run.rows;
  }
  return check_ids(tokens);
}

template <class T>
absl::Status CheckRange(absl::string_view field, T value, T low, T high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN
  return InvalidField(field,
                      absl::StrCat(field, " is ", value, "; must be from ", low, " to ", high));
}

absl::Status CheckBias(const SamplingOptions& sampling, const RequestLimits& limits) {
  const size_t vocabulary = limits.vocabulary_size;
  if (sampling.logit_bias.size() > vocabulary) {
    return InvalidField("sampling.logit_bias",
                        absl::StrCat("logit_bias has ", sampling.logit_bias.size(),
                                     " entries; at most ", vocabulary, " are taken"));
  }
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (token < 0 || token >= limits.vocabulary_size) {
      return InvalidField("sampling.logit_bias",
                          absl::StrCat("logit_bias for id ", token, "; ids go from 0 to ",
                                       limits.vocabulary_size - 1));
    }
    if (!(bias <= std::numeric_limits<float>::max())) {
      return InvalidField("sampling.logit_bias",
                          absl::StrCat("logit_bias of id ", token, " is ", bias,
                                       "; must be a number or -infinity"));
    }
  }
  if (sampling.logit_bias.size() + limits.banned_tokens.size() < vocabulary ||
      FoldBiases(sampling.logit_bias, limits.banned_tokens).banned.size() < vocabulary) {
    return absl::OkStatus();
  }
  return InvalidField("sampling.logit_bias", "logit_bias bans every token of the vocabulary");
}

absl::Status CheckSampling(const SamplingOptions& s, const RequestLimits& limits) {
  constexpr int kMaxInt = std::numeric_limits<int>::max();
  RETURN_IF_ERROR(CheckRange("sampling.temperature", s.temperature, 0.f, 100.f));
  RETURN_IF_ERROR(CheckRange("sampling.top_k", s.top_k, 0, kMaxInt));
  RETURN_IF_ERROR(CheckRange("sampling.top_p", s.top_p, 0.f, 1.f));
  RETURN_IF_ERROR(CheckRange("sampling.min_p", s.min_p, 0.f, 1.f));
  RETURN_IF_ERROR(CheckRange("sampling.repetition_penalty", s.repetition_penalty, 0.01f, 100.f));
  RETURN_IF_ERROR(CheckRange("sampling.frequency_penalty", s.frequency_penalty, -100.f, 100.f));
  RETURN_IF_ERROR(CheckRange("sampling.presence_penalty", s.presence_penalty, -100.f, 100.f));
  return CheckBias(s, limits);
}

}  // namespace

absl::Status ValidateRequest(const EngineRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckPrompt(request.prompt, request.share_cache, limits));
  return ValidateOptions(request, limits);
}

absl::Status ValidateOptions(const EngineRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckSampling(request.sampling, limits));
  RETURN_IF_ERROR(CheckRange("max_tokens", request.max_tokens, 0, std::numeric_limits<int>::max()));
  return CheckRange("logprobs", request.alternatives, 0, kMaxAlternatives);
}

}  // namespace softsplice
