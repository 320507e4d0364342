// softsplice-measure: loads models as the services do and measures what was asked for. Prints what
// it knows as a JSON object each time that it knows more: the last line has all. The Softsplice
// side of tests/bench/compare and tests/gpu/run.

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

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/text/tokenizer.h"
#include "encoder_svc/encoder.h"

namespace softsplice {
namespace {

using Json = nlohmann::json;

// Decodes at a context length, several sequences at once.
struct Decoding {
  int depth = 0;
  int streams = 1;
};

struct Options {
  std::string model, mmproj;
  std::string image, sound;  // bytes of the files
  BackendOptions backend;
  std::vector<int> prefill;
  std::vector<Decoding> decode;
  std::vector<int> budgets = {280};  // soft tokens of the picture
  int pictures = 1;                  // at once
  int chunk = 512;
  uint64_t kv_memory = 0;
  int steps = 16;
  int repeat = 1;
};

void Print(const Json& out) { std::cout << out.dump() << std::endl; }

double PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Sequences that decode together until the one that began last has written `steps` tokens after its
// first: that time is taken. All but the last lines is the engine's thread's.
class Streams : public std::enable_shared_from_this<Streams> {
 public:
  Streams(int streams, int steps) : streams_(streams), left_(steps) {}

  std::shared_ptr<TokenSink> NewSink() { return std::make_shared<Sink>(shared_from_this()); }
  // Waits for all of them; what the last one to end tells.
  absl::StatusOr<EngineResult> Wait() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return done_ == streams_; });
    return result_;
  }
  absl::Duration decoding() const { return end_ - start_; }

 private:
  class Sink : public TokenSink {
   public:
    explicit Sink(std::shared_ptr<Streams> all) : all_(std::move(all)) {}
    bool OnToken(const SampledToken&) override { return all_->OnToken(*this, ++tokens_ == 1); }
    void OnDone(absl::StatusOr<EngineResult> result) override { all_->OnDone(std::move(result)); }

   private:
    const std::shared_ptr<Streams> all_;
    int tokens_ = 0;
  };

  // Whether to go on.
  bool OnToken(const Sink& sink, bool first) {
    if (first && ++begun_ == streams_) {
      last_ = &sink;
      start_ = end_ = absl::Now();
    } else if (last_ == &sink && --left_ == 0) {
      end_ = absl::Now();
    }
    return last_ == nullptr || left_ > 0;
  }
  void OnDone(absl::StatusOr<EngineResult> result) {
    std::lock_guard lock(mutex_);
    if (done_++ == 0 || result_.ok()) result_ = std::move(result);
    ready_.notify_one();
  }

  const int streams_;
  int left_;
  int begun_ = 0;
  const Sink* last_ = nullptr;
  absl::Time start_, end_;
  std::mutex mutex_;
  std::condition_variable ready_;
  int done_ = 0;
  absl::StatusOr<EngineResult> result_ = absl::UnknownError("not done");
};

struct Times {
  absl::Duration prefill;   // of the last prompt
  absl::Duration decoding;  // `steps` tokens of each
};

// Reads `depth` random tokens in each of so many sequences, then writes `steps` more after the
// first.
absl::StatusOr<Times> Generate(Engine& engine, const Decoding& work, int steps) {
  const auto streams = std::make_shared<Streams>(work.streams, steps);
  for (int stream = 0; stream < work.streams; ++stream) {
    std::mt19937 random(static_cast<unsigned>(work.depth + stream));
    std::uniform_int_distribution<int32_t> id(300, engine.info().vocabulary_size - 300);
    EngineRequest request;
    for (int i = 0; i < work.depth; ++i) request.prompt.tokens.push_back(id(random));
    request.sampling.temperature = 0;
    request.ignore_stop_tokens = true;
    request.share_cache = steps > 0;  // a prompt that is timed is read each time
    ASSIGN_OR_RETURN(Engine::Place place, engine.Reserve());
    RETURN_IF_ERROR(
        engine.Submit(std::move(place), std::move(request), streams->NewSink()).status());
  }
  ASSIGN_OR_RETURN(const EngineResult result, streams->Wait());
  return Times{result.timings.prefill, streams->decoding()};
}

// The least time of some runs.
absl::StatusOr<Times> Best(Engine& engine, const Options& options, const Decoding& work,
                           int steps) {
  ASSIGN_OR_RETURN(Times best, Generate(engine, work, steps));
  for (int i = 1; i < options.repeat; ++i) {
    ASSIGN_OR_RETURN(const Times times, Generate(engine, work, steps));
    best = {std::min(best.prefill, times.prefill), std::min(best.decoding, times.decoding)};
  }
  return best;
}

EngineOptions EngineOptionsFor(const Options& options) {
  EngineOptions engine{.backend = options.backend,
                       .chunk = options.chunk,
                       .stall_target = absl::Hours(1),  // prompts go in whole chunks
                       .max_wait = absl::InfiniteDuration(),
                       .kv_memory = options.kv_memory};
  int longest = 512;
  for (const int depth : options.prefill) longest = std::max(longest, depth);
  for (const Decoding& d : options.decode) {
    // Those that began first write on while the others' prompts are read.
    longest = std::max(longest, d.depth + d.depth * d.streams / options.chunk + d.streams);
    engine.max_sequences = std::max(engine.max_sequences, d.streams);
  }
  engine.max_queue = engine.max_sequences;
  engine.context_length = longest + options.steps + 8;
  return engine;
}

absl::Status MeasureText(const Options& options, Json& out) {
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(auto file, gguf::File::Open(options.model));
  ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::FromGguf(*file));
  ASSIGN_OR_RETURN(auto engine, Engine::Load(*file, EngineOptionsFor(options),
                                             {.stop = tokenizer->StopTokens(),
                                              .banned = tokenizer->BannedTokens()}));
  out["load_s"] = absl::ToDoubleSeconds(absl::Now() - start);
  out["backend"] = engine->info().backend;
  RETURN_IF_ERROR(Generate(*engine, {.depth = 16}, 1).status());
  for (const int depth : options.prefill) {
    ASSIGN_OR_RETURN(const Times times, Best(*engine, options, {.depth = depth}, 0));
    out[absl::StrCat("prefill_", depth, "_tok_s")] = depth / absl::ToDoubleSeconds(times.prefill);
    Print(out);
  }
  for (const Decoding& d : options.decode) {
    ASSIGN_OR_RETURN(const Times times, Best(*engine, options, d, options.steps));
    const std::string streams = d.streams == 1 ? "" : absl::StrCat("x", d.streams);
    out[absl::StrCat("decode_", d.depth, streams, "_tok_s")] =
        d.streams * options.steps / absl::ToDoubleSeconds(times.decoding);
    Print(out);
  }
  out["text_peak_mb"] = PeakMegabytes();
  engine->Shutdown();
  return absl::OkStatus();
}

// Notes seconds under `name`, unless fewer stand there.
void Least(Json& out, const std::string& name, absl::Duration time) {
  const double seconds = absl::ToDoubleSeconds(time);
  out[name] = std::min(seconds, out.value(name, seconds));
}

// The same, and what of it was the medium's own time on the CPU and in the tower.
void LeastOf(Json& out, const std::string& name, absl::Duration time, const EncodeTimings& parts) {
  Least(out, name + "_s", time);
  Least(out, name + "_preprocess_s", parts.preprocess);
  Least(out, name + "_forward_s", parts.forward);
}

// Until the last of so many pictures is encoded; the parts are that one's.
absl::Status MeasureImage(Encoder& encoder, const Options& options, int budget, Json& out) {
  std::vector<std::future<absl::StatusOr<EncodedImage>>> results;
  const absl::Time start = absl::Now();
  for (int i = 0; i < options.pictures; ++i) {
    const auto done = std::make_shared<std::promise<absl::StatusOr<EncodedImage>>>();
    results.push_back(done->get_future());
    encoder.EncodeImage(
        {.data = options.image, .max_soft_tokens = budget},
        [done](absl::StatusOr<EncodedImage> result) { done->set_value(std::move(result)); });
  }
  EncodedImage image;
  for (auto& result : results) {
    ASSIGN_OR_RETURN(image, result.get());
  }
  const std::string count = options.pictures == 1 ? "" : absl::StrCat("x", options.pictures);
  const std::string name = absl::StrCat("image_", budget, count);
  LeastOf(out, name, absl::Now() - start, image.timings);
  out[name + "_tokens"] = image.layout.rows;
  return absl::OkStatus();
}

absl::Status MeasureSound(Encoder& encoder, const std::string& data, Json& out) {
  std::promise<std::pair<absl::Status, EncodeTimings>> done;
  const absl::Time start = absl::Now();
  encoder.EncodeAudio(
      {.data = data},
      {.layout = [&](const RecordingLayout& layout) { out["sound_tokens"] = layout.rows; },
       .rows =
           [](const Values&, const std::function<void()>& next) {
             if (next) next();
           },
       .done =
           [&](const absl::Status& status, const EncodeTimings& timings) {
             done.set_value({status, timings});
           }});
  const auto [status, timings] = done.get_future().get();
  RETURN_IF_ERROR(status);
  LeastOf(out, "sound", absl::Now() - start, timings);
  return absl::OkStatus();
}

absl::Status MeasureMedia(const Options& options, Json& out) {
  const absl::Time start = absl::Now();
  EncoderOptions encoder_options;
  encoder_options.mmproj_path = options.mmproj;
  encoder_options.backend = options.backend;
  ASSIGN_OR_RETURN(auto encoder, Encoder::Load(encoder_options));
  out["mmproj_load_s"] = absl::ToDoubleSeconds(absl::Now() - start);
  for (int i = 0; i < options.repeat; ++i) {
    for (const int budget : options.image.empty() ? std::vector<int>() : options.budgets) {
      RETURN_IF_ERROR(MeasureImage(*encoder, options, budget, out));
    }
    if (!options.sound.empty()) RETURN_IF_ERROR(MeasureSound(*encoder, options.sound, out));
    Print(out);
  }
  out["peak_mb"] = PeakMegabytes();
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  Json out;
  if (!options.model.empty()) RETURN_IF_ERROR(MeasureText(options, out));
  if (!options.mmproj.empty()) RETURN_IF_ERROR(MeasureMedia(options, out));
  Print(out);
  return absl::OkStatus();
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  softsplice::Options options;
  std::string image_path, sound_path;
  std::vector<std::string> decode;
  CLI::App app("Measures Softsplice on given files; prints JSON.");
  app.add_option("--model", options.model, "text GGUF")->check(CLI::ExistingFile);
  app.add_option("--mmproj", options.mmproj, "mmproj GGUF")->check(CLI::ExistingFile);
  app.add_option("--image", image_path, "picture to encode")->check(CLI::ExistingFile);
  app.add_option("--budgets", options.budgets, "soft tokens of the picture")->delimiter(',');
  app.add_option("--pictures", options.pictures,
                 "how many of it come at once: the first goes alone, on a device up to four of the "
                 "others together")
      ->check(CLI::Range(1, 64));
  app.add_option("--sound", sound_path, "sound to encode")->check(CLI::ExistingFile);
  app.add_option("--backend", options.backend.name, "as the services take it");
  app.add_option("--threads", options.backend.threads, "0: all");
  app.add_option("--prefill", options.prefill, "prompt lengths")->delimiter(',');
  app.add_option("--decode", decode,
                 "context lengths to decode at, each with the number of sequences: 512,512x8")
      ->delimiter(',');
  app.add_option("--chunk", options.chunk, "prompt tokens of a step, at most")
      ->check(CLI::PositiveNumber);
  app.add_option("--kv-memory", options.kv_memory,
                 "as the decoder takes it: keys and values of all sequences")
      ->transform(CLI::AsSizeValue(false));
  app.add_flag("--ple-on-host", options.backend.large_tables_on_host,
               "as the decoder's --ple-memory host");
  app.add_option("--steps", options.steps, "tokens per decode measurement")
      ->check(CLI::PositiveNumber);
  app.add_option("--repeat", options.repeat, "runs of each measurement, of which the best counts");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& text : decode) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('x', 1));
    softsplice::Decoding& d = options.decode.emplace_back();
    if (!absl::SimpleAtoi(parts.first, &d.depth) || d.depth < 1 ||
        (!parts.second.empty() && !absl::SimpleAtoi(parts.second, &d.streams)) || d.streams < 1) {
      std::cerr << "--decode: " << text << " is not LENGTH or LENGTHxSEQUENCES" << std::endl;
      return 2;
    }
  }
  for (const auto& [path, bytes] :
       {std::pair(&image_path, &options.image), std::pair(&sound_path, &options.sound)}) {
    std::ifstream file(*path, std::ios::binary);
    bytes->assign(std::istreambuf_iterator<char>(file), {});
  }
  const absl::Status status = softsplice::Run(options);
  if (!status.ok()) std::cerr << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}
