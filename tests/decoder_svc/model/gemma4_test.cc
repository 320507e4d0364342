// The trunk against transformers: every stage, logits and greedy continuations (tests/data/model).
#include "decoder_svc/model/gemma4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "decoder_svc/engine/runner.h"
#include "kernels/backend_factory.h"
#include "tests/decoder_svc/engine/own_blocks.h"
#include "tests/decoder_svc/goldens.h"

namespace softsplice {
namespace {

// One sequence in slot 0 of a runner. Keys and values in float32.
class Trunk {
 public:
  Trunk(const std::string& model, const std::string& backend, int rows, int logit_rows) {
    auto file = gguf::File::Open(absl::StrCat("tests/data/models/", model, "-F16.gguf"));
    EXPECT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
    auto made = MakeBackend({.name = backend, .threads = 2});
    EXPECT_TRUE(made.ok()) << made.status();
    backend_ = *std::move(made);
    auto runner = Runner::Make(*file_, *backend_,
                               {.context_length = 512,
                                .chunk = rows,
                                .max_rows = rows,
                                .max_logit_rows = logit_rows,
                                .kv_f32 = true});
    EXPECT_TRUE(runner.ok()) << runner.status();
    runner_ = *std::move(runner);
    blocks_ = OwnBlocks(runner_->shape())[0];
  }

  std::vector<float> Run(int first, absl::Span<const int32_t> tokens, int logit_rows,
                         absl::Span<const SoftRun> soft = {}, const Tap& tap = {}) {
    const auto rows = runner_->Run({{.first = first,
                                     .tokens = tokens,
                                     .soft = soft,
                                     .logit_rows = logit_rows,
                                     .all_logits = true,
                                     .blocks = &blocks_}},
                                   tap);
    EXPECT_TRUE(rows.ok()) << rows.status();
    std::vector<float> logits;
    for (const RowLogits& row : *rows) logits.insert(logits.end(), row.all.begin(), row.all.end());
    return logits;
  }

  // Runs the whole prompt and goes on greedily.
  std::vector<int32_t> Greedy(std::vector<int32_t> tokens, int count,
                              absl::Span<const SoftRun> soft = {}) {
    std::vector<int32_t> answer;
    std::vector<float> logits = Run(0, tokens, 1, soft);
    for (int position = static_cast<int>(tokens.size());; ++position) {
      answer.push_back(
          static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
      if (static_cast<int>(answer.size()) == count) return answer;
      logits = Run(position, absl::MakeConstSpan(&answer.back(), 1), 1);
    }
  }

  size_t layers() const { return runner_->model().config().layers; }
  std::vector<float> Download(Mat x) {
    std::vector<float> host;
    for (int r = 0; r < x.rows; ++r) {
      host.resize(host.size() + x.cols);
      backend_->Download(host.data() + host.size() - x.cols, x.Rows(r, 1));
    }
    EXPECT_TRUE(backend_->Wait().ok());
    return host;
  }

 private:
  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Runner> runner_;
  BlockTable blocks_;
};

// Rows `rows` of `logits`.
std::vector<float> Pick(const std::vector<float>& logits, const std::vector<int32_t>& rows,
                        size_t width) {
  std::vector<float> picked;
  for (int32_t row : rows) {
    picked.insert(picked.end(), logits.begin() + row * width, logits.begin() + (row + 1) * width);
  }
  return picked;
}

// Float32 arithmetic on both sides; the sums differ in order.
constexpr double kTolerance = 1e-3;

class Gemma4Test : public testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  std::string model() const { return std::get<0>(GetParam()); }
  std::string backend() const { return std::get<1>(GetParam()); }
  Goldens goldens_{absl::StrCat("tests/data/model/", std::get<0>(GetParam()), "-text.bin")};
};

TEST_P(Gemma4Test, EveryStage) {
  const std::vector<int32_t>& tokens = goldens_.Ints("short.tokens");
  const int rows = static_cast<int>(tokens.size());
  Trunk trunk(model(), backend(), rows, rows);
  std::map<std::string, std::vector<float>> stages;
  trunk.Run(0, tokens, rows, {}, [&](absl::string_view stage, Mat x) {
    stages[std::string(stage)] = trunk.Download(x);
  });
  // Besides the layers: embed, per_layer_inputs, norm, logits.
  EXPECT_EQ(stages.size(), trunk.layers() + 4);
  for (const auto& [stage, values] : stages) {
    const std::string name = stage == "logits" || stage == "per_layer_inputs"
                                 ? absl::StrCat("short.", stage)
                                 : absl::StrCat("short.hidden.", stage);
    ASSERT_TRUE(goldens_.Has(name)) << name;
    EXPECT_LT(RelativeError(values, goldens_.Floats(name)), kTolerance) << stage;
  }
}

TEST_P(Gemma4Test, LogitsOfEveryPrompt) {
  Trunk trunk(model(), backend(), 180, 180);
  for (const std::string prompt : {"short", "medium", "long"}) {
    const std::vector<int32_t>& tokens = goldens_.Ints(prompt + ".tokens");
    const std::vector<float> logits = trunk.Run(0, tokens, static_cast<int>(tokens.size()));
    const std::vector<float> picked =
        Pick(logits, goldens_.Ints(prompt + ".logit_rows"), logits.size() / tokens.size());
    EXPECT_LT(RelativeError(picked, goldens_.Floats(prompt + ".logits")), kTolerance) << prompt;
  }
}

TEST_P(Gemma4Test, GreedyContinuations) {
  Trunk trunk(model(), backend(), 180, 1);
  for (const std::string prompt : {"short", "medium", "long"}) {
    EXPECT_EQ(trunk.Greedy(goldens_.Ints(prompt + ".tokens"), 24),
              goldens_.Ints(prompt + ".greedy"))
        << prompt;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Gemma4Test,
                         testing::Combine(testing::Values("tiny", "ssfs", "tiny_e2b"),
                                          testing::Values("ref", "cpu")),
                         [](const auto& test) {
                           return absl::StrCat(std::get<0>(test.param), "_",
                                               std::get<1>(test.param));
                         });

class Gemma4ImageTest : public testing::TestWithParam<const char*> {};

TEST_P(Gemma4ImageTest, SoftTokensInThePrompt) {
  const Goldens goldens("tests/data/model/tiny-image.bin");
  std::vector<int32_t> tokens = goldens.Ints("image.tokens");
  const std::vector<float>& soft = goldens.Floats("image.soft");
  const int rows = goldens.Rows("image.soft");
  // The placeholders are the one id that comes so often in a row.
  const auto first = std::search_n(tokens.begin(), tokens.end(), rows, tokens[tokens.size() / 2]);
  ASSERT_NE(first, tokens.end());
  const SoftRun run{.first = static_cast<int>(first - tokens.begin()),
                    .rows = rows,
                    .values = std::make_shared<const std::vector<float>>(soft)};
  std::fill_n(first, rows, 0);
  const int prompt = static_cast<int>(tokens.size());
  Trunk trunk("tiny", GetParam(), prompt, prompt);
  const std::vector<float> logits = trunk.Run(0, tokens, prompt, {&run, 1});
  EXPECT_LT(RelativeError(Pick(logits, goldens.Ints("image.logit_rows"), logits.size() / prompt),
                          goldens.Floats("image.logits")),
            kTolerance);
  EXPECT_EQ(trunk.Greedy(tokens, 24, {&run, 1}), goldens.Ints("image.greedy"));
}

INSTANTIATE_TEST_SUITE_P(Backends, Gemma4ImageTest, testing::Values("ref", "cpu"),
                         [](const auto& test) { return std::string(test.param); });

// Layers of one size that began alike with a page would all need their next one in the same step.
TEST(Gemma4CacheTest, LayersFollowOneAnotherInOneBuffer) {
  const auto file = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
  const auto backend = *MakeBackend({.name = "ref"});
  const auto model = *Gemma4::Load(*file, *backend);
  const auto cache = model->AllocateCache(*backend, 100, 30, DType::kF16);
  ASSERT_TRUE(cache.ok()) << cache.status();
  const char* next = static_cast<const char*>(cache->memory.get());
  for (const KvLayer& layer : cache->layers) {
    if (layer.k.data == nullptr) continue;
    for (const Mat& mat : {layer.k, layer.v}) {
      EXPECT_EQ(mat.data, next);
      next += (mat.rows * mat.cols * SizeOf(mat.type) + 255) / 256 * 256;
    }
  }
  EXPECT_GT(next, cache->memory.get());
}

TEST(Gemma4LoadTest, RefusesOtherFiles) {
  auto file = gguf::File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  auto backend = MakeBackend({.name = "ref"});
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ(Gemma4::Load(**file, **backend).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace softsplice
