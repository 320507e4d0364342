// The real engine in virtual time, without a thread: nothing is computed, and a step takes what its
// rows cost. An hour of traffic takes less than a second, and takes it alike every time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "decoder_svc/engine/engine_impl.h"
#include "kernels/null_backend.h"

namespace softsplice {

// Of a step: it reads the weights, and meanwhile some rows. Rows that give logits pass all layers,
// others only those that own keys and values. The defaults are those of the model's full size on
// two cores with AVX-512.
struct StepCost {
  absl::Duration weights = absl::Milliseconds(79);
  absl::Duration logit_row = absl::Milliseconds(11);
  absl::Duration prompt_row = absl::Microseconds(5300);
  // How many times as long all of it takes at a time, where others use the machine.
  double (*slower)(absl::Duration now) = [](absl::Duration) { return 1.0; };

  absl::Duration Of(int logit_rows, int prompt_rows) const {
    return std::max(weights, logit_row * logit_rows + prompt_row * prompt_rows);
  }
};

class SimBackend final : public NullBackend {
 public:
  // A step ends when it is waited for.
  SimBackend(const StepCost& cost, absl::Duration& now, int64_t& rows)
      : cost_(cost), now_(now), all_rows_(rows) {}
  void Embed(Mat y, Mat, const Weight&, float) override {
    rows_ = y.rows;
    logit_rows_ = 0;  // blocks are copied by GatherRows, too, but before
  }
  void GatherRows(Mat y, Mat, Mat) override { logit_rows_ = y.rows; }
  absl::Status Wait() override {
    const int logit_rows = std::exchange(logit_rows_, 0);
    const int rows = std::exchange(rows_, 0);
    if (rows > 0) now_ += cost_.slower(now_) * cost_.Of(logit_rows, rows - logit_rows);
    all_rows_ += rows;
    return absl::OkStatus();
  }

 private:
  const StepCost cost_;
  absl::Duration& now_;
  int64_t& all_rows_;
  int rows_ = 0;
  int logit_rows_ = 0;
};

class Simulation {
 public:
  struct Stream;
  // What a client asks for, and does.
  struct Ask {
    std::string client;
    int prompt = 1;  // tokens
    int answer = 1;
    bool shared = false;               // it takes what others have read
    std::vector<int32_t> begin = {1};  // the prompt's first tokens; all others are 1
    Priority priority = Priority::kNormal;
    absl::Duration time_limit = absl::InfiniteDuration();
    // Whether it reads its answer at a time; null: always.
    std::function<bool(absl::Duration)> reads = nullptr;
    std::function<void(const Stream&)> then = nullptr;  // once it has ended
  };

  // And what became of it.
  struct Stream final : TokenSink {
    Stream(const absl::Duration& clock, Ask what) : now(clock), ask(std::move(what)) {}
    void OnAdmitted(int cached_tokens) override {
      admitted = now;
      cached = cached_tokens;
    }
    void OnPaused() override { pauses.push_back(now); }
    bool HasRoom() override { return ask.reads == nullptr || ask.reads(now); }
    bool OnToken(const SampledToken& token) override {
      written.push_back(token.chosen.token);
      tokens.push_back(now);
      return true;
    }
    void OnDone(absl::StatusOr<EngineResult> end) override {
      status = end.status();
      ended = now;
      if (ask.then) ask.then(*this);
    }
    absl::Duration FirstToken() const { return tokens.at(0) - asked; }

    const absl::Duration& now;
    const Ask ask;
    absl::Duration asked = now;
    std::optional<absl::Duration> admitted;
    std::vector<int32_t> written;
    std::vector<absl::Duration> tokens;  // when each of them came
    std::vector<absl::Duration> pauses;  // when each began
    absl::Status status = absl::UnknownError("not done");
    std::optional<absl::Duration> ended;
    int cached = 0;  // of its prompt
    Engine::Handle handle = 0;
  };

  explicit Simulation(EngineOptions options, const StepCost& cost = {}) {
    options.clock = [this] { return now_; };
    std::vector<std::unique_ptr<Backend>> backends;
    backends.push_back(std::make_unique<SimBackend>(cost, now_, rows_));
    auto ranks =
        *Ranks::Load(*file_, std::move(backends), OptionsOfRunner(options), options.step_limit);
    const TextConfig& config = ranks->runner().model().config();
    const ModelInfo info{.dim = config.dim,
                         .vocabulary_size = config.vocab,
                         .context_length = options.context_length};
    engine_ = std::make_unique<EngineImpl>(std::move(ranks), info, options, SpecialTokens{});
  }

  // The least that EngineOptions::kv_memory may be: one sequence of the whole context fits.
  static uint64_t LeastMemory(const EngineOptions& options) {
    NullBackend backend;
    const auto file = *gguf::File::Open(kModel);
    const auto runner = *Runner::Make(*file, backend, OptionsOfRunner(options));
    const KvShape least = KvShape::Least(options.max_sequences, options.context_length,
                                         runner->model().config().window, options.ChunkOn({}));
    return runner->KvBytes(least.full_blocks, least.sliding_blocks);
  }

  absl::Duration now() const { return now_; }
  int64_t rows() const { return rows_; }  // that were read and written
  EngineImpl& engine() { return *engine_; }

  // Does something at a time from now on.
  void At(absl::Duration time, std::function<void()> what) {
    events_.emplace(time, std::move(what));
  }
  // Asks now. A stream that the engine does not take has ended.
  std::shared_ptr<Stream> Start(Ask ask) {
    auto stream = std::make_shared<Stream>(now_, std::move(ask));
    streams_.push_back(stream);
    absl::StatusOr<Engine::Place> place =
        engine_->Reserve(stream->ask.priority, stream->ask.time_limit);
    if (!place.ok()) {
      stream->OnDone(place.status());
      return stream;
    }
    stream->handle = *engine_->Submit(*std::move(place), RequestOf(stream->ask), stream);
    return stream;
  }
  // Reads the beginning of a prompt, now or when there is room. Not among the streams.
  std::shared_ptr<Stream> ReadAhead(Ask ask) {
    ask.shared = true;
    auto stream = std::make_shared<Stream>(now_, std::move(ask));
    stream->handle = *engine_->ReadAhead(stream->ask.priority, RequestOf(stream->ask), stream);
    return stream;
  }
  // Does something after each round of the engine.
  void AfterRounds(std::function<void()> what) { after_round_ = std::move(what); }
  // Until all has happened and all streams have ended, or for `most`.
  void Run(absl::Duration most = absl::Hours(1)) {
    constexpr absl::Duration kBeat = absl::Milliseconds(100);
    for (const absl::Duration end = now_ + most; now_ < end;) {
      while (!events_.empty() && events_.begin()->first <= now_) {
        events_.extract(events_.begin()).mapped()();
      }
      const bool goes_on = engine_->Round();
      after_round_();
      if (goes_on) continue;
      if (const EngineLoad load = engine_->load(); load.running + load.paused > 0) {
        now_ += kBeat;
      } else if (!events_.empty()) {
        now_ = events_.begin()->first;
      } else {
        return;
      }
    }
  }
  // All that asked, in order.
  const std::vector<std::shared_ptr<Stream>>& streams() const { return streams_; }

 private:
  static EngineRequest RequestOf(const Ask& ask) {
    EngineRequest request;
    request.client = ask.client;
    request.share_cache = ask.shared;
    request.prompt.tokens = ask.begin;
    request.prompt.tokens.resize(ask.prompt, 1);
    request.sampling.temperature = 0;
    request.max_tokens = ask.answer;
    request.time_limit = ask.time_limit;
    return request;
  }
  static constexpr char kModel[] = "tests/data/models/tiny-F16.gguf";
  static RunnerOptions OptionsOfRunner(const EngineOptions& options) {
    return {.context_length = options.context_length,
            .chunk = options.ChunkOn({}),
            .max_sequences = options.max_sequences,
            .max_rows = options.ChunkOn({}) + options.max_sequences - 1,
            .max_logit_rows = options.max_sequences,
            .kv_memory = options.kv_memory};
  }

  absl::Duration now_ = absl::Hours(1);
  int64_t rows_ = 0;
  std::unique_ptr<gguf::File> file_ = *gguf::File::Open(kModel);
  std::multimap<absl::Duration, std::function<void()>> events_;
  std::function<void()> after_round_ = [] {};
  std::vector<std::shared_ptr<Stream>> streams_;
  std::unique_ptr<EngineImpl> engine_;
};

}  // namespace softsplice
