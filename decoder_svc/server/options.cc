#include "decoder_svc/server/options.h"

#include <algorithm>
#include <limits>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/validate.h"

namespace softsplice {
namespace {

constexpr int kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxSaltBytes = 256;

uint64_t DrawSeed() {
  absl::BitGen random;
  return absl::Uniform<uint64_t>(random);
}

// The engine counts in int; what is larger means no limit either way.
int ToInt(uint32_t value) {
  return static_cast<int>(std::min<uint32_t>(value, std::numeric_limits<int>::max()));
}

absl::Status NotSupported(const std::string& field, absl::string_view message) {
  return MakeError(absl::StatusCode::kUnimplemented, message,
                   {.reason = reason::kNotSupported, .field = field});
}

// What the contract has and this version has not.
absl::Status CheckServed(const v1::GenerateRequest& request) {
  if (!request.json_schema().empty()) {
    return NotSupported("json_schema", "this version can't hold an answer to a schema");
  }
  if (!v1::Priority_IsValid(request.priority())) {
    return NotSupported("priority",
                        absl::StrCat("this version has no priority ", request.priority()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSalt(const std::string& salt) {
  if (salt.size() <= kMaxSaltBytes) return absl::OkStatus();
  return InvalidField("cache_salt", absl::StrCat("cache_salt has ", salt.size(), " bytes; at most ",
                                                 kMaxSaltBytes, " are taken"));
}

namespace {

absl::Status CheckStops(const v1::GenerateRequest& request) {
  if (request.stop_size() > kMaxStops) {
    return InvalidField("stop", absl::StrCat("stop has ", request.stop_size(), " strings; at most ",
                                             kMaxStops, " are taken"));
  }
  for (int i = 0; i < request.stop_size(); ++i) {
    const std::string field = absl::StrCat("stop[", i, "]");
    const size_t size = request.stop(i).size();
    if (size > 0 && size <= kMaxStopBytes) continue;
    return InvalidField(
        field, absl::StrCat(field, " has ", size, " bytes; it must have 1 to ", kMaxStopBytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<SamplingOptions> ReadSampling(const v1::Sampling& from, int vocabulary) {
  SamplingOptions to;
  if (from.has_temperature()) to.temperature = from.temperature();
  if (from.has_top_k()) to.top_k = ToInt(from.top_k());
  if (from.has_top_p()) to.top_p = from.top_p();
  if (from.has_min_p()) to.min_p = from.min_p();
  if (from.has_repetition_penalty()) to.repetition_penalty = from.repetition_penalty();
  if (from.has_frequency_penalty()) to.frequency_penalty = from.frequency_penalty();
  if (from.has_presence_penalty()) to.presence_penalty = from.presence_penalty();
  to.seed = from.has_seed() ? from.seed() : DrawSeed();
  if (from.logit_bias_size() > vocabulary) {
    return InvalidField("sampling.logit_bias",
                        absl::StrCat("sampling.logit_bias has ", from.logit_bias_size(),
                                     " entries; the vocabulary has ", vocabulary, " tokens"));
  }
  for (int i = 0; i < from.logit_bias_size(); ++i) {
    const v1::LogitBias& bias = from.logit_bias(i);
    if (bias.token_id() >= static_cast<uint32_t>(vocabulary)) {
      const std::string field = absl::StrCat("sampling.logit_bias[", i, "].token_id");
      return InvalidField(field, absl::StrCat(field, " is ", bias.token_id(),
                                              "; the vocabulary has ", vocabulary, " tokens"));
    }
    to.logit_bias.emplace_back(static_cast<int32_t>(bias.token_id()), bias.bias());
  }
  return to;
}

}  // namespace

absl::StatusOr<EngineRequest> ReadOptions(const v1::GenerateRequest& request,
                                          const DecoderContext& context) {
  RETURN_IF_ERROR(CheckServed(request));
  RETURN_IF_ERROR(CheckStops(request));
  RETURN_IF_ERROR(CheckSalt(request.cache_salt()));
  const ModelInfo& model = context.engine.info();
  EngineRequest engine_request;
  ASSIGN_OR_RETURN(engine_request.sampling,
                   ReadSampling(request.sampling(), model.vocabulary_size));
  engine_request.max_tokens = ToInt(request.max_tokens());
  engine_request.alternatives = ToInt(request.logprobs());
  engine_request.share_cache = !request.no_prefix_cache();
  const std::vector<int32_t> banned = context.tokenizer.BannedTokens();
  // Before any medium is encoded.
  RETURN_IF_ERROR(ValidateOptions(engine_request, {.vocabulary_size = model.vocabulary_size,
                                                   .dim = model.dim,
                                                   .context_length = model.context_length,
                                                   .banned_tokens = banned}));
  return engine_request;
}

}  // namespace softsplice
