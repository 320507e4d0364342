// softsplice-measure: loads models as the services do and prints one JSON object with what was
// asked for. The Softsplice side of tests/bench/compare.

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/text/tokenizer.h"
#include "encoder_svc/encoder.h"

namespace softsplice {
namespace {

using Json = nlohmann::json;

struct Options {
  std::string model, mmproj;
  std::string image, sound;  // bytes of the files
  int threads = 0;
  std::vector<int> prefill;
  std::vector<int> decode_depths;
  int steps = 16;
};

double PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

class DoneSink : public TokenSink {
 public:
  bool OnToken(const SampledToken&) override { return true; }
  void OnDone(absl::StatusOr<EngineResult> result) override {
    std::lock_guard lock(mutex_);
    result_ = std::move(result);
    done_ = true;
    ready_.notify_one();
  }
  absl::StatusOr<EngineResult> Wait() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return done_; });
    return result_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  bool done_ = false;
  absl::StatusOr<EngineResult> result_ = absl::UnknownError("not done");
};

// Reads `depth` random tokens, then writes `steps` more after the first.
absl::StatusOr<EngineResult> Generate(Engine& engine, int depth, int steps) {
  std::mt19937 random(static_cast<unsigned>(depth));
  std::uniform_int_distribution<int32_t> id(300, engine.info().vocabulary_size - 300);
  EngineRequest request;
  for (int i = 0; i < depth; ++i) request.prompt.tokens.push_back(id(random));
  request.sampling.temperature = 0;
  request.max_tokens = steps + 1;
  request.ignore_stop_tokens = true;
  auto sink = std::make_shared<DoneSink>();
  ASSIGN_OR_RETURN(Engine::Place place, engine.Reserve());
  RETURN_IF_ERROR(engine.Submit(std::move(place), std::move(request), sink).status());
  return sink->Wait();
}

absl::Status MeasureText(const Options& options, Json& out) {
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(auto file, gguf::File::Open(options.model));
  ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::FromGguf(*file));
  EngineOptions engine_options;
  engine_options.backend.threads = options.threads;
  int longest = 512;
  for (int n : options.prefill) longest = std::max(longest, n);
  for (int n : options.decode_depths) longest = std::max(longest, n);
  engine_options.context_length = longest + options.steps + 8;
  ASSIGN_OR_RETURN(auto engine, Engine::Load(*file, engine_options,
                                             {.stop = tokenizer->StopTokens(),
                                              .banned = tokenizer->BannedTokens(),
                                              .pad = tokenizer->pad()}));
  out["load_s"] = absl::ToDoubleSeconds(absl::Now() - start);
  out["backend"] = engine->info().backend;
  RETURN_IF_ERROR(Generate(*engine, 16, 1).status());
  for (int n : options.prefill) {
    ASSIGN_OR_RETURN(const EngineResult result, Generate(*engine, n, 0));
    out[absl::StrCat("prefill_", n, "_tok_s")] = n / absl::ToDoubleSeconds(result.timings.prefill);
  }
  for (int n : options.decode_depths) {
    ASSIGN_OR_RETURN(const EngineResult result, Generate(*engine, n, options.steps));
    const absl::Duration decode = result.timings.total - result.timings.time_to_first_token;
    out[absl::StrCat("decode_", n, "_tok_s")] = options.steps / absl::ToDoubleSeconds(decode);
  }
  out["text_peak_mb"] = PeakMegabytes();
  engine->Shutdown();
  return absl::OkStatus();
}

absl::Status MeasureImage(Encoder& encoder, const std::string& data, Json& out) {
  std::promise<absl::StatusOr<EncodedImage>> done;
  const absl::Time start = absl::Now();
  encoder.EncodeImage(
      {.data = data, .max_soft_tokens = 280},
      [&](absl::StatusOr<EncodedImage> result) { done.set_value(std::move(result)); });
  ASSIGN_OR_RETURN(const EncodedImage image, done.get_future().get());
  out["image_s"] = absl::ToDoubleSeconds(absl::Now() - start);
  out["image_tokens"] = image.rows;
  return absl::OkStatus();
}

absl::Status MeasureSound(Encoder& encoder, const std::string& data, Json& out) {
  std::promise<absl::Status> done;
  const absl::Time start = absl::Now();
  encoder.EncodeAudio(
      {.data = data},
      {.layout = [&](const AudioLayout& layout) { out["sound_tokens"] = layout.rows; },
       .rows =
           [](const std::vector<float>&, const std::function<void()>& next) {
             if (next) next();
           },
       .done = [&](const absl::Status& status, const EncodeTimings&) { done.set_value(status); }});
  RETURN_IF_ERROR(done.get_future().get());
  out["sound_s"] = absl::ToDoubleSeconds(absl::Now() - start);
  return absl::OkStatus();
}

absl::Status MeasureMedia(const Options& options, Json& out) {
  const absl::Time start = absl::Now();
  EncoderOptions encoder_options;
  encoder_options.mmproj_path = options.mmproj;
  encoder_options.backend.threads = options.threads;
  ASSIGN_OR_RETURN(auto encoder, Encoder::Load(encoder_options));
  out["mmproj_load_s"] = absl::ToDoubleSeconds(absl::Now() - start);
  if (!options.image.empty()) RETURN_IF_ERROR(MeasureImage(*encoder, options.image, out));
  if (!options.sound.empty()) RETURN_IF_ERROR(MeasureSound(*encoder, options.sound, out));
  out["peak_mb"] = PeakMegabytes();
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  Json out;
  if (!options.model.empty()) RETURN_IF_ERROR(MeasureText(options, out));
  if (!options.mmproj.empty()) RETURN_IF_ERROR(MeasureMedia(options, out));
  std::cout << out.dump() << std::endl;
  return absl::OkStatus();
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  softsplice::Options options;
  std::string image_path, sound_path;
  CLI::App app("Measures Softsplice on given files; prints JSON.");
  app.add_option("--model", options.model, "text GGUF")->check(CLI::ExistingFile);
  app.add_option("--mmproj", options.mmproj, "mmproj GGUF")->check(CLI::ExistingFile);
  app.add_option("--image", image_path, "picture to encode at 280 soft tokens")
      ->check(CLI::ExistingFile);
  app.add_option("--sound", sound_path, "sound to encode")->check(CLI::ExistingFile);
  app.add_option("--threads", options.threads, "0: all");
  app.add_option("--prefill", options.prefill, "prompt lengths")->delimiter(',');
  app.add_option("--decode", options.decode_depths, "context lengths to decode at")->delimiter(',');
  app.add_option("--steps", options.steps, "tokens per decode measurement");
  CLI11_PARSE(app, argc, argv);
  for (const auto& [path, bytes] :
       {std::pair(&image_path, &options.image), std::pair(&sound_path, &options.sound)}) {
    std::ifstream file(*path, std::ios::binary);
    bytes->assign(std::istreambuf_iterator<char>(file), {});
  }
  const absl::Status status = softsplice::Run(options);
  if (!status.ok()) std::cerr << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}
