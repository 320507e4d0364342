// An engine that can't work says so, and one request's trouble is not the next one's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "decoder_svc/engine/engine_impl.h"
#include "kernels/null_backend.h"
#include "tests/decoder_svc/engine/sink.h"
#include "tests/support/read_file.h"

namespace softsplice {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// What the device does from now on.
struct Faults {
  std::atomic<bool> not_finite = false;  // results are no numbers
  std::atomic<int> failing_waits = 0;    // as many waits fail
  bool short_of_memory = false;          // for want of memory
};

// Computes nothing: whatever is read back is zero, or no number.
class FaultyBackend final : public NullBackend {
 public:
  explicit FaultyBackend(Faults& faults) : faults_(faults) {}
  void Download(void* host, Mat src) override {
    std::fill_n(static_cast<float*>(host), src.rows * src.cols, faults_.not_finite ? kNaN : 0.0f);
  }
  absl::Status Wait() override {
    if (faults_.failing_waits == 0) return absl::OkStatus();
    --faults_.failing_waits;
    if (!faults_.short_of_memory) return absl::InternalError("the device is lost");
    return MakeError(absl::StatusCode::kResourceExhausted, "no memory",
                     {.reason = "OUT_OF_MEMORY", .retry_after = absl::Seconds(1)});
  }

 private:
  Faults& faults_;
};

class EngineHealthTest : public ::testing::Test {
 protected:
  EngineHealthTest() { Start({.max_sequences = 1}); }
  void Start(const EngineOptions& options) {
    std::vector<std::unique_ptr<Backend>> backends;
    backends.push_back(std::make_unique<FaultyBackend>(faults_));
    auto ranks =
        *Ranks::Load(*file_, std::move(backends),
                     {.context_length = 64, .chunk = 16, .max_rows = 16}, options.step_limit);
    const TextConfig& config = ranks->runner().model().config();
    const ModelInfo info{.dim = config.dim, .vocabulary_size = config.vocab, .context_length = 64};
    auto engine = std::make_unique<EngineImpl>(std::move(ranks), info, options, SpecialTokens{});
    engine->Start();
    engine_ = std::move(engine);
  }

  static EngineRequest Request() {
    EngineRequest request;
    request.prompt.tokens = {2, 5, 9};
    request.max_tokens = 2;
    return request;
  }
  // Its error's reason, or OK.
  std::string Run(EngineRequest request = Request()) {
    auto place = engine_->Reserve();
    if (!place.ok()) return absl::StrCat("refused: ", GetErrorDetail(place.status()).reason);
    const auto sink = std::make_shared<Sink>();
    EXPECT_TRUE(engine_->Submit(*std::move(place), std::move(request), sink).ok());
    const absl::Status status = sink->Wait().status();
    return status.ok() ? "OK" : GetErrorDetail(status).reason;
  }

  Faults faults_;
  std::unique_ptr<gguf::File> file_ = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineHealthTest, OneFailureIsNotTheEnd) {
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 2; ++i) {
      faults_.failing_waits = 1;
      EXPECT_EQ(Run(), "DEVICE_ERROR");
    }
    EXPECT_EQ(Run(), "OK");
    faults_.not_finite = true;
    EXPECT_EQ(Run(), "MODEL_NOT_FINITE");
    faults_.not_finite = false;
    EXPECT_EQ(Run(), "OK");
  }
  EXPECT_TRUE(engine_->health().ok());
}

TEST_F(EngineHealthTest, TellsOfStepsThatFail) {
  std::vector<StepReport> steps;
  Start({.max_sequences = 1, .on_step = [&](const StepReport& step) { steps.push_back(step); }});
  faults_.failing_waits = 1;
  EXPECT_EQ(Run(), "DEVICE_ERROR");
  EXPECT_EQ(Run(), "OK");
  engine_->Shutdown();
  ASSERT_EQ(steps.size(), 3u);  // of the second request: a prompt of three, and a token
  EXPECT_FALSE(steps[0].status.ok());
  EXPECT_TRUE(steps[1].status.ok());
  EXPECT_EQ(std::pair(steps[1].rows, steps[1].prompt_rows), std::pair(3, 3));
  EXPECT_EQ(std::pair(steps[2].rows, steps[2].prompt_rows), std::pair(1, 0));
}

TEST_F(EngineHealthTest, FailuresInARowAreTheEnd) {
  faults_.not_finite = true;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(engine_->health().ok());
    EXPECT_EQ(Run(), "MODEL_NOT_FINITE");
  }
  EXPECT_EQ(GetErrorDetail(engine_->health()).reason, "MODEL_NOT_FINITE");
  faults_.not_finite = false;
  EXPECT_EQ(Run(), "refused: DRAINING");
  EXPECT_FALSE(engine_->health().ok()) << "for good";
}

TEST_F(EngineHealthTest, ADeviceThatDoesNotRecoverIsTheEnd) {
  faults_.failing_waits = 1 << 20;
  EXPECT_EQ(Run(), "DEVICE_ERROR");
  EXPECT_EQ(GetErrorDetail(engine_->health()).reason, "DEVICE_ERROR");
}

TEST_F(EngineHealthTest, ShortMemoryPasses) {
  faults_.short_of_memory = true;
  for (int i = 0; i < 5; ++i) {
    faults_.failing_waits = 1;
    EXPECT_EQ(Run(), "OUT_OF_MEMORY");
  }
  EXPECT_EQ(Run(), "OK");
  EXPECT_TRUE(engine_->health().ok());
}

// A plan without a row is a bug: it ends requests instead of going round for ever.
TEST_F(EngineHealthTest, PlansThatGiveNothingAreAnError) {
  Start({.chunk = 0, .max_sequences = 1});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Run(), "INTERNAL");
  EXPECT_EQ(GetErrorDetail(engine_->health()).reason, "INTERNAL");
  EXPECT_EQ(Run(), "refused: DRAINING");
}

// Finite numbers that overflow on their way are the client's; others go on being served.
TEST_F(EngineHealthTest, AClientsSoftTokensCannotEndIt) {
  faults_.not_finite = true;
  for (int i = 0; i < 5; ++i) {
    EngineRequest request = Request();
    request.prompt.soft = {{1, 1,
                            std::make_shared<const std::vector<float>>(
                                engine_->info().dim, std::numeric_limits<float>::max())}};
    EXPECT_EQ(Run(std::move(request)), "MODEL_NOT_FINITE");
  }
  faults_.not_finite = false;
  EXPECT_EQ(Run(), "OK");
  EXPECT_TRUE(engine_->health().ok());
}

// A copy of the tiny model whose tensor `name` is all NaN.
class NaNModel {
 public:
  explicit NaNModel(const std::string& name) {
    constexpr char kModel[] = "tests/data/models/tiny-F16.gguf";
    std::string bytes = testing::ReadFile(kModel);
    const auto file = *gguf::File::Open(kModel);
    const gguf::Tensor& tensor = *file->FindOptional(name);
    const size_t at =
        bytes.find(std::string(reinterpret_cast<const char*>(tensor.data), tensor.bytes));
    for (size_t i = 0; i < tensor.bytes; i += 2) {
      bytes[at + i] = static_cast<char>(0xff);  // 0x7fff is NaN in F16; twice, in F32
      bytes[at + i + 1] = static_cast<char>(0x7f);
    }
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~NaNModel() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = absl::StrCat(::testing::TempDir(), "engine_health.", getpid(), ".gguf");
};

TEST(EngineLoadTest, RefusesAModelThatIsNotANumber) {
  for (const char* tensor : {"output_norm.weight", "blk.1.ffn_down.weight", "token_embd.weight"}) {
    const NaNModel model(tensor);
    for (const char* backend : {"cpu", "cpu-generic", "ref"}) {
      const auto file = *gguf::File::Open(model.path());
      const absl::Status status =
          Engine::Load(*file, {.backend = {.name = backend, .threads = 1}, .context_length = 64},
                       {})
              .status();
      EXPECT_EQ(GetErrorDetail(status).reason, "MODEL_NOT_FINITE") << tensor << " " << backend;
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(model.path()));
    }
  }
}

}  // namespace
}  // namespace softsplice
