// Loading of an engine; see engine_impl.h for the engine itself.
#include "decoder_svc/engine/engine.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config/text_config.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "decoder_svc/engine/engine_impl.h"
#include "decoder_svc/engine/ranks.h"
#include "decoder_svc/engine/runner.h"
#include "decoder_svc/engine/sampler.h"
#include "kernels/backend_factory.h"
#include "kernels/choose_backend.h"

namespace softsplice {
namespace {

absl::Status CheckOptions(const EngineOptions& options, const TextConfig& config) {
  const auto check = [](absl::string_view field, int value, int low, int high) {
    if (value >= low && value <= high) return absl::OkStatus();
    return InvalidField(field,
                        absl::StrCat(field, " is ", value, "; must be from ", low, " to ", high));
  };
  constexpr int kMax = 1 << 20;
  RETURN_IF_ERROR(check("context_length", options.context_length, 1, config.context_length));
  RETURN_IF_ERROR(check("chunk", options.ChunkOn({}), 1, kMax));
  RETURN_IF_ERROR(
      check("tensor_parallel", static_cast<int>(options.devices.size()), 1, kMostRanks));
  // All positions together are counted in an int.
  RETURN_IF_ERROR(
      check("max_sequences", options.max_sequences, 1, (1 << 30) / options.context_length));
  return check("max_queue", options.max_queue, 1, kMax);
}

RunnerOptions OptionsOfRunner(const EngineOptions& options, absl::string_view backend) {
  const int chunk = options.ChunkOn(backend);
  return {.context_length = options.context_length,
          .chunk = chunk,
          .max_sequences = options.max_sequences,
          .max_rows = chunk + options.max_sequences - 1,
          .max_logit_rows = options.max_sequences,
          .kv_memory = options.kv_memory,
          .kv_f32 = options.kv_f32};
}

// The model with its caches and buffers, for steps of the largest shape.
absl::StatusOr<Footprint> MeasureOn(CountingBackend& counter, const gguf::File& file,
                                    const RunnerOptions& options) {
  ASSIGN_OR_RETURN(const auto runner, Runner::Make(file, counter, options));
  Footprint footprint = counter.footprint();
  const KvShape& shape = runner->shape();
  footprint.caches = runner->KvBytes(shape.full_blocks, shape.sliding_blocks);
  footprint.workspace -= footprint.caches;
  return footprint;
}

// One real step, so that a model that can't work fails now and not at the first request.
absl::Status WarmUp(Ranks& ranks) {
  const int32_t token = kMediaToken;
  const absl::StatusOr<absl::Span<const RowLogits>> logits =
      ranks.Run({{.tokens = absl::MakeConstSpan(&token, 1), .logit_rows = 1}});
  RETURN_IF_ERROR(logits.status());
  return Sampler({.temperature = 0}, {}, {}, 0).Sample(logits->front()).status();
}

absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeBackends(const EngineOptions& options,
                                                                   const Choice& choice) {
  BackendOptions chosen = options.backend;
  chosen.name = choice.name;
  if (options.devices.size() > 1) {
    if (choice.name == "cuda") return MakeRanks(chosen, options.devices, options.step_limit);
    return InvalidField("tensor_parallel", absl::StrCat("only cuda shares a model out, not ",
                                                        choice.name, " (", choice.why, ")"));
  }
  chosen.device = options.devices.front();
  std::vector<std::unique_ptr<Backend>> one;
  ASSIGN_OR_RETURN(one.emplace_back(), MakeBackend(chosen));
  return one;
}

}  // namespace

absl::StatusOr<Footprint> Engine::Measure(const gguf::File& file, const EngineOptions& options) {
  ASSIGN_OR_RETURN(const TextConfig config, TextConfig::FromGguf(file));
  RETURN_IF_ERROR(CheckOptions(options, config));
  ASSIGN_OR_RETURN(const auto counter,
                   MakeCounter(options.backend, static_cast<int>(options.devices.size())));
  return MeasureOn(*counter, file, OptionsOfRunner(options, options.backend.name));
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Load(const gguf::File& file,
                                                     const EngineOptions& options,
                                                     SpecialTokens special) {
  ASSIGN_OR_RETURN(const TextConfig config, TextConfig::FromGguf(file));
  RETURN_IF_ERROR(CheckOptions(options, config));
  const auto advice = [&](absl::string_view backend, absl::string_view others) {
    return absl::StrCat("lower --kv-memory, --context (", options.context_length,
                        "), --max-sequences (", options.max_sequences, ") or --chunk (",
                        options.ChunkOn(backend), "), or take a file of smaller types", others);
  };
  const std::string device_advice =
      advice("cuda", options.backend.large_tables_on_host ? " or --backend cpu"
                                                          : ", --ple-memory host or --backend cpu");
  const std::string host_advice = advice("cpu", "");
  const auto measure = [&](CountingBackend& counter, absl::string_view backend) {
    return MeasureOn(counter, file, OptionsOfRunner(options, backend));
  };
  ASSIGN_OR_RETURN(const Choice choice, ChooseBackend({.backend = options.backend,
                                                       .devices = options.devices,
                                                       .shared = true,
                                                       .measure = measure,
                                                       .device_advice = device_advice,
                                                       .host_advice = host_advice}));
  ASSIGN_OR_RETURN(auto backends, MakeBackends(options, choice));
  const auto progress =
      std::make_shared<WeightProgress>(choice.weight_bytes * backends.size(), options.on_load);
  for (const std::unique_ptr<Backend>& backend : backends) {
    backend->Listen([progress](uint64_t bytes) { progress->Add(bytes); });
  }
  EngineOptions engine_options = options;
  engine_options.chunk = options.ChunkOn(choice.name);
  ASSIGN_OR_RETURN(auto ranks,
                   Ranks::Load(file, std::move(backends), OptionsOfRunner(options, choice.name),
                               options.step_limit));
  options.on_load("first pass", 0);
  RETURN_IF_ERROR(Annotate(WarmUp(*ranks), file.path()));
  ModelInfo info{.name = file.String("general.name").value_or("gemma4"),
                 .backend = ranks->Name(),
                 .backend_why = choice.why,
                 .footprint = choice.footprint,
                 .dim = config.dim,
                 .vocabulary_size = config.vocab,
                 .context_length = options.context_length,
                 .max_sequences = options.max_sequences};
  if (choice.name == "cuda") info.devices = options.devices;
  auto engine = std::make_unique<EngineImpl>(std::move(ranks), std::move(info), engine_options,
                                             std::move(special));
  engine->Start();
  return engine;
}

}  // namespace softsplice
