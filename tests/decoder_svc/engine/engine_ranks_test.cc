// A rank that fails, and one that hangs: the engine ends with a clear error and never waits for
// longer than its limit.
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "decoder_svc/engine/engine_impl.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/null_backend.h"
#include "tests/decoder_svc/engine/sink.h"
#include "tests/support/event.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

// What a rank does at its next wait, and what becomes of it.
struct Fate {
  std::atomic<bool> fails = false, hangs = false;
  Event aborted, go_on, gone;
};

// Computes nothing. A rank that waits for others that hang goes on once it is aborted.
class RankBackend final : public NullBackend {
 public:
  explicit RankBackend(std::shared_ptr<Fate> fate) : fate_(std::move(fate)) {}
  ~RankBackend() override { fate_->gone.Notify(); }
  void Download(void* host, Mat src) override {
    std::fill_n(static_cast<float*>(host), src.rows * src.cols, 0.0f);
  }
  void Abort(const absl::Status&) override { fate_->aborted.Notify(); }
  absl::Status Wait() override {
    if (fate_->fails) return absl::InternalError("the device is lost");
    if (fate_->hangs) fate_->go_on.WaitForNotification();
    return absl::OkStatus();
  }

 private:
  const std::shared_ptr<Fate> fate_;
};

class EngineRanksTest : public ::testing::Test {
 protected:
  void Start(absl::Duration limit) {
    std::vector<std::unique_ptr<Backend>> backends;
    for (const auto& fate : fates_) backends.push_back(std::make_unique<RankBackend>(fate));
    auto ranks = *Ranks::Load(*file_, std::move(backends),
                              {.context_length = 64, .chunk = 16, .max_rows = 16}, limit);
    const TextConfig& config = ranks->runner().model().config();
    const ModelInfo info{.dim = config.dim, .vocabulary_size = config.vocab, .context_length = 64};
    auto engine = std::make_unique<EngineImpl>(std::move(ranks), info,
                                               EngineOptions{.max_sequences = 1}, SpecialTokens{});
    engine->Start();
    engine_ = std::move(engine);
  }
  std::shared_ptr<Sink> Submit() {
    EngineRequest request;
    request.prompt.tokens = {2, 5, 9};
    request.max_tokens = 20;
    auto sink = std::make_shared<Sink>();
    EXPECT_TRUE(engine_->Submit(*engine_->Reserve(), std::move(request), sink).ok());
    return sink;
  }
  // What becomes of one that runs when `what` happens, of one that waits, of a newcomer, and of the
  // engine.
  void ExpectTheEnd(const std::function<void()>& what, const std::string& message) {
    const auto running = std::make_shared<Sink>();
    Event both_are_there;
    running->on_token = [&](const SampledToken&) {
      both_are_there.WaitForNotification();
      what();
      return true;
    };
    EngineRequest request;
    request.prompt.tokens = {2, 5, 9};
    request.max_tokens = 20;
    ASSERT_TRUE(engine_->Submit(*engine_->Reserve(), std::move(request), running).ok());
    const auto waiting = Submit();
    both_are_there.Notify();
    const absl::Status status = running->Wait().status();
    EXPECT_EQ(running->tokens.size(), 1u);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(GetErrorDetail(status).reason, "RANK_FAILED");
    EXPECT_THAT(status.message(), HasSubstr(message));
    EXPECT_EQ(waiting->Wait().status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(engine_->health(), status);
    EXPECT_EQ(engine_->Reserve().status().code(), absl::StatusCode::kUnavailable);
    for (const auto& fate : fates_) EXPECT_TRUE(fate->aborted.HasBeenNotified());
  }

  const std::vector<std::shared_ptr<Fate>> fates_ = {std::make_shared<Fate>(),
                                                     std::make_shared<Fate>()};
  std::unique_ptr<gguf::File> file_ = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineRanksTest, OneRequestAfterTheOther) {
  Start(absl::Minutes(5));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Submit()->Wait().ok());
  EXPECT_TRUE(engine_->health().ok());
}

TEST_F(EngineRanksTest, ARankThatFailsEndsAll) {
  for (const size_t rank : {0, 1}) {
    Start(absl::Minutes(5));
    ExpectTheEnd([&] { fates_[rank]->fails = true; },
                 absl::StrCat("rank ", rank, ": the device is lost"));
    fates_[rank]->fails = false;
  }
}

// Neither the requests nor the engine's end wait for it; it may go on when they are gone.
TEST_F(EngineRanksTest, ARankThatHangsEndsAll) {
  Start(absl::Milliseconds(50));
  ExpectTheEnd([&] { fates_[1]->hangs = true; }, "rank 1 hangs: it is not done 50ms after rank 0");
  engine_ = nullptr;
  EXPECT_FALSE(fates_[1]->gone.HasBeenNotified());
  fates_[1]->go_on.Notify();
  fates_[1]->gone.WaitForNotification();
}

}  // namespace
}  // namespace softsplice
