// The same logits however a prompt is cut into steps and whoever shares the batch.
#include "decoder_svc/engine/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/backend_factory.h"
#include "tests/decoder_svc/goldens.h"

namespace softsplice {
namespace {

// Rows go through the same arithmetic whatever the batch; only attention may sum in another order.
constexpr double kTolerance = 1e-5;

struct Model {
  std::unique_ptr<gguf::File> file;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Runner> runner;

  Model(const std::string& name, const std::string& backend_name, const RunnerOptions& options) {
    file = *gguf::File::Open(absl::StrCat("tests/data/models/", name, "-F16.gguf"));
    backend = *MakeBackend({.name = backend_name, .threads = 2});
    auto made = Runner::Make(*file, *backend, options);
    EXPECT_TRUE(made.ok()) << made.status();
    runner = *std::move(made);
  }

  std::vector<float> Run(absl::Span<const StepPart> parts) {
    const auto logits = runner->Run(parts);
    EXPECT_TRUE(logits.ok()) << logits.status();
    return {logits->begin(), logits->end()};
  }
};

// Logits of the last row of a prompt that is read `chunk` rows at a time.
std::vector<float> ReadInChunks(Model& model, int slot, absl::Span<const int32_t> tokens,
                                int chunk) {
  for (int first = 0;; first += chunk) {
    const auto part = tokens.subspan(first, chunk);
    const bool last = first + part.size() == tokens.size();
    std::vector<float> logits =
        model.Run({{.slot = slot, .first = first, .tokens = part, .logit_rows = last ? 1 : 0}});
    if (last) return logits;
    EXPECT_TRUE(logits.empty());
  }
}

class RunnerTest : public testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  std::string model() const { return std::get<0>(GetParam()); }
  std::string backend() const { return std::get<1>(GetParam()); }
  // Several windows (of 24) long, and more than one block.
  std::vector<int32_t> Prompt() const {
    const Goldens goldens(absl::StrCat("tests/data/model/", model(), "-text.bin"));
    std::vector<int32_t> tokens = goldens.Ints("long.tokens");
    for (int i = 0; i < 120; ++i) tokens.push_back(tokens[i + 1]);
    return tokens;
  }
};

TEST_P(RunnerTest, ChunksDoNotMatter) {
  const std::vector<int32_t> tokens = Prompt();
  Model whole(model(), backend(), {.context_length = 512, .chunk = 300, .max_rows = 300});
  const int slot = *whole.runner->pool().Reserve(512);
  const std::vector<float> expected = ReadInChunks(whole, slot, tokens, 300);
  for (int chunk : {1, 7, 32, 128, 299}) {
    Model model_in_chunks(model(), backend(),
                          {.context_length = 512, .chunk = chunk, .max_rows = chunk});
    const int s = *model_in_chunks.runner->pool().Reserve(512);
    EXPECT_LT(RelativeError(ReadInChunks(model_in_chunks, s, tokens, chunk), expected), kTolerance)
        << chunk;
  }
}

TEST_P(RunnerTest, CompanyDoesNotMatter) {
  const std::vector<int32_t> tokens = Prompt();
  const auto all = absl::MakeConstSpan(tokens);
  const RunnerOptions options{
      .context_length = 512, .chunk = 64, .max_sequences = 3, .max_rows = 130, .max_logit_rows = 3};
  Model model(this->model(), backend(), options);
  const int a = *model.runner->pool().Reserve(300), b = *model.runner->pool().Reserve(300),
            c = *model.runner->pool().Reserve(300);
  // Soft rows in the middle of one of the sequences only.
  const SoftRun run{.first = 20,
                    .rows = 30,
                    .values = std::make_shared<const std::vector<float>>(
                        30 * model.runner->model().config().dim, 0.25f)};

  // Alone: a decodes at 100, b ends a prompt of 90, c ends one of 60 with soft rows.
  ReadInChunks(model, a, all.subspan(0, 100), 64);
  std::vector<float> expected = model.Run({{a, 100, all.subspan(100, 1), {}, 1}});
  const std::vector<float> of_b = ReadInChunks(model, b, all.subspan(50, 90), 64);
  const std::vector<float> of_c = model.Run({{c, 0, all.subspan(10, 60), {&run, 1}, 1}});
  expected.insert(expected.end(), of_b.begin(), of_b.end());
  expected.insert(expected.end(), of_c.begin(), of_c.end());

  // Together, in two steps.
  model.Run({{b, 0, all.subspan(50, 64), {}, 0}, {c, 0, all.subspan(10, 25), {&run, 1}, 0}});
  const std::vector<float> together = model.Run({{a, 100, all.subspan(100, 1), {}, 1},
                                                 {b, 64, all.subspan(114, 26), {}, 1},
                                                 {c, 25, all.subspan(35, 35), {&run, 1}, 1}});
  EXPECT_LT(RelativeError(together, expected), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Models, RunnerTest,
                         testing::Combine(testing::Values("tiny", "ssfs"),
                                          testing::Values("ref", "cpu")),
                         [](const auto& test) {
                           return absl::StrCat(std::get<0>(test.param), "_",
                                               std::get<1>(test.param));
                         });

TEST(RunnerKvTest, CountsWhatIsReserved) {
  Model model("tiny", "ref",
              {.context_length = 256, .chunk = 8, .max_sequences = 2, .max_rows = 9});
  // tiny: 2 full layers of 1 x 64 and 2 sliding ones of 1 x 32 own keys and values.
  const uint64_t block = 128 * 2 * 2;  // rows, k and v, bytes of F16
  EXPECT_EQ(model.runner->KvBytesTotal(), 2 * block * (2 * 2 * 64 + 2 * 32));
  EXPECT_EQ(model.runner->KvBytesUsed(), 0u);
  const int slot = *model.runner->pool().Reserve(100);
  EXPECT_EQ(model.runner->KvBytesUsed(), block * (2 * 64 + 2 * 32));
  model.runner->pool().Release(slot);
  EXPECT_EQ(model.runner->KvBytesUsed(), 0u);
}

}  // namespace
}  // namespace softsplice
