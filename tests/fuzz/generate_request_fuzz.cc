// Generate requests of any content, from their options and prompt to the tokens that are sampled:
// whatever passes the checks gives tokens, and never a banned one.
#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "common/gguf/file.h"
#include "decoder_svc/engine/sampler.h"
#include "decoder_svc/server/options.h"
#include "decoder_svc/server/prompt.h"
#include "decoder_svc/server/service.h"
#include "tests/decoder_svc/engine/known_row.h"
#include "tests/decoder_svc/server/fake_engine.h"

namespace softsplice {
namespace {

constexpr int kVocabulary = 8;
constexpr int kBanned = 3;
constexpr int kDraws = 6;

// Few enough tokens that all of them can be banned.
class SmallTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> Encode(absl::Span<const TextRun> runs) const override {
    std::vector<int32_t> ids;
    for (const TextRun& run : runs) {
      for (const char c : run.text) ids.push_back(static_cast<uint8_t>(c) % kVocabulary);
    }
    return ids;
  }
  absl::string_view Bytes(int32_t) const override { return "x"; }
  bool IsControl(int32_t) const override { return false; }
  int size() const override { return kVocabulary; }
  int longest() const override { return 1; }
  int32_t Find(absl::string_view) const override { return -1; }
  int32_t bos() const override { return 2; }
  std::vector<int32_t> StopTokens() const override { return {1}; }
  std::vector<int32_t> BannedTokens() const override { return {kBanned}; }
  std::vector<int32_t> PlaceholderTokens() const override { return {}; }
};

const Tokenizer& RealTokenizer() {
  static const auto file = *gguf::File::Open("tests/data/demo/demo-text.gguf");
  static const auto tokenizer = *Tokenizer::FromGguf(*file);
  return *tokenizer;
}

// A decoder that only checks.
struct Decoder {
  explicit Decoder(const Tokenizer& of) : tokenizer(of) {}

  const Tokenizer& tokenizer;
  const ChatTemplate chat_template{tokenizer, ""};
  FakeEngine engine{{.dim = 4, .vocabulary_size = tokenizer.size(), .context_length = 200}};
  const Logger logger{LogFormat::kText, LogLevel::kError};
  Border border{{}};
  Workers workers{1};
  Metrics metrics;
  const CallMetrics call_metrics{metrics, DecoderServiceDescriptor()};
  const DecoderMetrics decoder_metrics{metrics};
  const Calls calls{logger, border, workers, call_metrics};
  CallCounts counts;
  KnownMedia known_media;
  Sessions sessions{{}};
  const DecoderContext context{.engine = engine,
                               .tokenizer = tokenizer,
                               .chat_template = chat_template,
                               .calls = calls,
                               .counts = counts,
                               .metrics = decoder_metrics,
                               .known_media = known_media,
                               .sessions = sessions,
                               .limits = {.max_media_bytes = 1000, .max_media = 3}};
};

float AnyFloat(FuzzedDataProvider& in) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kMost = std::numeric_limits<float>::max();
  return in.PickValueInArray<float>(
      {0, -0.0f, 1, -1, 0.01f, 100, -100, 1e9f, -1e9f, 1e-45f, kMost, -kMost, kInfinity, -kInfinity,
       std::numeric_limits<float>::quiet_NaN(), in.ConsumeFloatingPoint<float>()});
}

void BuildSampling(FuzzedDataProvider& in, v1::Sampling& sampling) {
  if (in.ConsumeBool()) sampling.set_temperature(AnyFloat(in));
  if (in.ConsumeBool()) sampling.set_top_k(in.ConsumeIntegralInRange(0u, 12u));
  if (in.ConsumeBool()) sampling.set_top_p(in.ConsumeProbability<float>());
  if (in.ConsumeBool()) sampling.set_min_p(in.ConsumeProbability<float>());
  if (in.ConsumeBool()) sampling.set_repetition_penalty(AnyFloat(in));
  if (in.ConsumeBool()) sampling.set_frequency_penalty(AnyFloat(in));
  if (in.ConsumeBool()) sampling.set_presence_penalty(AnyFloat(in));
  if (in.ConsumeBool()) sampling.set_seed(in.ConsumeIntegral<uint64_t>());
  const uint32_t biases = in.ConsumeIntegralInRange(0u, kVocabulary + 2u);
  for (uint32_t i = 0; i < biases; ++i) {
    v1::LogitBias& bias = *sampling.add_logit_bias();
    bias.set_token_id(in.ConsumeIntegralInRange(0u, 0u + kVocabulary));
    bias.set_bias(AnyFloat(in));
  }
}

v1::GenerateRequest BuildRequest(FuzzedDataProvider& in) {
  v1::GenerateRequest request;
  BuildSampling(in, *request.mutable_sampling());
  request.set_max_tokens(in.ConsumeIntegral<uint32_t>());
  if (in.ConsumeBool()) request.set_logprobs(in.ConsumeIntegralInRange(0u, 30u));
  if (in.ConsumeBool()) {
    v1::RawPart& part = *request.mutable_raw()->add_parts();
    for (int i = in.ConsumeIntegralInRange(0, 8); i > 0; --i) {
      part.mutable_token_ids()->add_ids(in.ConsumeIntegralInRange(0u, 0u + kVocabulary));
    }
  } else {
    v1::Message& message = *request.mutable_chat()->add_messages();
    message.set_role(in.PickValueInArray({v1::ROLE_USER, v1::ROLE_SYSTEM, v1::ROLE_MODEL}));
    message.add_parts()->set_text(in.ConsumeRandomLengthString(40));
  }
  return request;
}

std::vector<float> Logits(std::mt19937& random) {
  constexpr float kMost = std::numeric_limits<float>::max();
  constexpr float kLogits[] = {0, -0.0f, 1, -1, 30, -30, 1e-45f, kMost, -kMost};
  std::vector<float> logits;
  for (int i = 0; i < kVocabulary; ++i) logits.push_back(kLogits[random() % std::size(kLogits)]);
  return logits;
}

void SampleSome(const EngineRequest& request, const std::vector<int32_t>& prompt,
                std::mt19937& random) {
  std::set<int32_t> banned = {kBanned};
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    if (std::isinf(bias)) banned.insert(token);
  }
  Sampler sampler(request.sampling, std::vector<int32_t>{kBanned}, prompt, request.alternatives);
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<float> logits = Logits(random);
    const std::vector<float> before = logits;
    const auto token = sampler.Sample(KnownRow(logits).For(sampler));
    if (!token.ok() || logits != before) std::abort();
    if (token->chosen.token < 0 || token->chosen.token >= kVocabulary) std::abort();
    if (banned.contains(token->chosen.token)) std::abort();
  }
}

void CheckAndSample(const v1::GenerateRequest& request, std::mt19937& random) {
  static Decoder small{*new SmallTokenizer};
  static Decoder real{RealTokenizer()};
  const auto plan = [&](const Decoder& decoder) {
    return PlanPrompt({.chat = request.has_chat() ? &request.chat() : nullptr,
                       .raw = request.has_raw() ? &request.raw() : nullptr},
                      decoder.context);
  };
  (void)plan(real);
  (void)ReadOptions(request, real.context);
  const auto options = ReadOptions(request, small.context);
  if (!options.ok()) return;
  std::vector<int32_t> prompt;
  if (const auto small_plan = plan(small); small_plan.ok()) {
    for (const PromptPiece& piece : small_plan->pieces) {
      const auto* ids = std::get_if<std::vector<int32_t>>(&piece);
      if (ids != nullptr) prompt.insert(prompt.end(), ids->begin(), ids->end());
    }
  }
  // As the engine checks them.
  std::erase_if(prompt, [](int32_t id) { return id < 0 || id >= kVocabulary; });
  SampleSome(*options, prompt, random);
}

}  // namespace
}  // namespace softsplice

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider in(data, size);
  std::mt19937 random(in.ConsumeIntegral<uint32_t>());
  softsplice::v1::GenerateRequest request;
  if (in.ConsumeBool()) {
    request = softsplice::BuildRequest(in);
  } else if (!request.ParseFromString(in.ConsumeRemainingBytesAsString())) {
    return 0;
  }
  softsplice::CheckAndSample(request, random);
  return 0;
}
