// The same bits however a prompt is cut into steps, whoever shares them and however many threads
// work: what the scheduler does changes no answer.
#include "decoder_svc/engine/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/backend_factory.h"
#include "tests/decoder_svc/engine/own_blocks.h"

namespace softsplice {
namespace {

constexpr int kContext = 1024;

struct Setup {
  std::string model;
  std::string backend;
  bool exact_weights = false;
};

void PrintTo(const Setup& setup, std::ostream* out) { *out << setup.model << " " << setup.backend; }

struct Model {
  std::unique_ptr<gguf::File> file;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Runner> runner;
  std::vector<BlockTable> tables;

  Model(const Setup& setup, int threads, const RunnerOptions& options) {
    file = *gguf::File::Open(absl::StrCat("tests/data/models/", setup.model, ".gguf"));
    backend = *MakeBackend(
        {.name = setup.backend, .threads = threads, .exact_weights = setup.exact_weights});
    auto made = Runner::Make(*file, *backend, options);
    EXPECT_TRUE(made.ok()) << made.status();
    runner = *std::move(made);
    tables = OwnBlocks(runner->shape());
  }

  // All logits, and that what is known of the best fits them.
  std::vector<float> Run(std::vector<StepPart> parts) {
    for (StepPart& part : parts) {
      part.all_logits = true;
      part.blocks = &tables[part.slot];
    }
    const auto rows = runner->Run(parts);
    EXPECT_TRUE(rows.ok()) << rows.status();
    std::vector<float> logits;
    for (const RowLogits& row : *rows) {
      EXPECT_EQ(row.max, *std::max_element(row.all.begin(), row.all.end()));
      for (size_t i = 0; i < row.ids.size(); ++i) EXPECT_EQ(row.values[i], row.all[row.ids[i]]);
      logits.insert(logits.end(), row.all.begin(), row.all.end());
    }
    return logits;
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

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class RunnerTest : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    const auto backend = MakeBackend({.name = GetParam().backend});
    if (!backend.ok()) GTEST_SKIP() << backend.status();
  }
  // The scalar oracle has one thread and is slow.
  bool ref() const { return GetParam().backend == "ref"; }
  std::vector<int> Threads() const {
    return ref() ? std::vector<int>{1} : std::vector<int>{1, 2, 3};
  }
  // Many windows (of 24) and several blocks long.
  std::vector<int32_t> Prompt() const {
    std::vector<int32_t> tokens;
    for (int i = 0; i < (ref() ? 300 : 700); ++i) tokens.push_back(2 + i * 31 % 251);
    return tokens;
  }
};

TEST_P(RunnerTest, ChunksAndThreadsDoNotMatter) {
  const std::vector<int32_t> tokens = Prompt();
  std::vector<float> expected;
  for (int threads : Threads()) {
    for (int chunk : {900, 299, 128, 32, 7, 1}) {
      Model model(GetParam(), threads,
                  {.context_length = kContext, .chunk = chunk, .max_rows = chunk});
      const std::vector<float> logits = ReadInChunks(model, 0, tokens, chunk);
      if (expected.empty()) expected = logits;
      EXPECT_TRUE(SameBits(logits, expected)) << threads << " threads, chunks of " << chunk;
    }
  }
}

// One sequence writes, one ends its prompt, one ends a prompt with soft rows.
TEST_P(RunnerTest, CompanyDoesNotMatter) {
  const std::vector<int32_t> tokens = Prompt();
  const auto all = absl::MakeConstSpan(tokens);
  std::array<std::vector<float>, 3> expected;
  for (int threads : Threads()) {
    Model model(GetParam(), threads,
                {.context_length = kContext,
                 .chunk = 64,
                 .max_sequences = 3,
                 .max_rows = 130,
                 .max_logit_rows = 3});
    const int a = 0, b = 1, c = 2;
    const SoftRun run{.first = 20,
                      .rows = 30,
                      .values = std::make_shared<const std::vector<float>>(
                          30 * model.runner->model().config().dim, 0.25f)};
    ReadInChunks(model, a, all.subspan(0, 100), 64);
    const std::array<StepPart, 3> parts = {{{a, 100, all.subspan(100, 1), {}, 1},
                                            {b, 64, all.subspan(114, 26), {}, 1},
                                            {c, 25, all.subspan(35, 35), {&run, 1}, 1}}};
    const std::array<std::vector<float>, 3> alone = {
        model.Run({parts[0]}), ReadInChunks(model, b, all.subspan(50, 90), 64),
        model.Run({{c, 0, all.subspan(10, 60), {&run, 1}, 1}})};
    if (expected[0].empty()) expected = alone;
    std::array<int, 3> order = {0, 1, 2};
    do {
      model.Run({{b, 0, all.subspan(50, 64), {}, 0}, {c, 0, all.subspan(10, 25), {&run, 1}, 0}});
      const std::vector<float> together =
          model.Run({parts[order[0]], parts[order[1]], parts[order[2]]});
      const size_t vocabulary = together.size() / 3;
      for (int i = 0; i < 3; ++i) {
        const auto begin = together.begin() + i * vocabulary;
        EXPECT_TRUE(SameBits({begin, begin + vocabulary}, expected[order[i]]))
            << threads << " threads, sequence " << order[i] << " in place " << i;
      }
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, RunnerTest,
    testing::Values(Setup{"tiny-F16", "ref"}, Setup{"ssfs-F16", "ref"}, Setup{"tiny-F16", "cpu"},
                    Setup{"ssfs-F16", "cpu"}, Setup{"ssfs-F16", "cpu-avx2"},
                    Setup{"ssfs-F16", "cpu-generic"}, Setup{"tiny_e2b-F16", "cpu"},
                    Setup{"kquant-Q4_0", "cpu"}, Setup{"kquant-Q4_0", "cpu-avx2"},
                    Setup{"kquant-Q4_0", "cpu-generic"}, Setup{"kquant-Q4_0", "cpu", true},
                    Setup{"kquant-Q8_0", "cpu"}, Setup{"kquant-Q4_K", "cpu"},
                    Setup{"kquant-Q6_K", "cpu"}),
    [](const auto& test) {
      std::string name = absl::StrCat(test.param.model, "_", test.param.backend,
                                      test.param.exact_weights ? "_exact" : "");
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

// A sequence that begins on another one's blocks, at any position, and goes on in copies of the
// block that it only uses a part of.
TEST_P(RunnerTest, SharedBlocksGiveTheSameBits) {
  const std::vector<int32_t> tokens = Prompt();
  const auto all = absl::MakeConstSpan(tokens);
  Model model(GetParam(), 1,
              {.context_length = kContext, .chunk = 900, .max_sequences = 2, .max_rows = 901});
  const std::vector<float> expected = ReadInChunks(model, 0, all, 900);
  const int block_rows = model.runner->shape().block_rows;
  BlockTable& mine = model.tables[1];
  const BlockTable own = mine, &others = model.tables[0];
  for (const int shared : {1, 127, 128, 129, 256, static_cast<int>(all.size()) - 1}) {
    const int whole = shared / block_rows;
    const auto share = [&](const std::vector<int32_t>& from, const std::vector<int32_t>& own_blocks,
                           std::vector<int32_t>& to, bool sliding) {
      to = own_blocks;
      std::copy_n(from.begin(), whole, to.begin());
      if (shared % block_rows > 0) {
        model.runner->Copy({{.sliding = sliding, .from = from[whole], .to = to[whole]}});
      }
    };
    share(others.full, own.full, mine.full, false);
    share(others.sliding, own.sliding, mine.sliding, true);
    mine.version += 100;
    const std::vector<float> logits =
        model.Run({{.slot = 1, .first = shared, .tokens = all.subspan(shared), .logit_rows = 1}});
    EXPECT_TRUE(SameBits(logits, expected)) << "after " << shared << " shared positions";
  }
}

TEST(RunnerKvTest, TakesNoMoreMemoryThanIsGiven) {
  const auto file = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
  const auto backend = *MakeBackend({.name = "ref"});
  const auto shape = [&](uint64_t memory) -> absl::StatusOr<KvShape> {
    const auto runner = Runner::Make(*file, *backend,
                                     {.context_length = 1024,
                                      .chunk = 8,
                                      .max_sequences = 4,
                                      .max_rows = 11,
                                      .kv_memory = memory});
    if (!runner.ok()) return runner.status();
    const KvShape& made = (*runner)->shape();
    const uint64_t bytes = (*runner)->KvBytes(made.full_blocks, made.sliding_blocks);
    EXPECT_TRUE(memory == 0 || bytes <= memory);
    return made;
  };
  // tiny: 2 full layers of 1 x 64 and 2 sliding ones of 1 x 32 own keys and values, in F16.
  const uint64_t full = 128 * 2 * 2 * 2 * 64, sliding = 128 * 2 * 2 * 2 * 32;  // of a block
  const int windows = 16 * 2;  // of 24 - 1 + 32 positions, in two blocks each
  const KvShape none = KvShape::Least(4, 1024, 24, 8);
  const uint64_t least = 8 * full + none.sliding_blocks * sliding;
  EXPECT_EQ(shape(least)->full_blocks, 8) << "one whole context";
  EXPECT_EQ(shape(least)->sliding_blocks, none.sliding_blocks);
  EXPECT_EQ(shape(least + 2 * full)->full_blocks, 9) << "half of it is for windows";
  EXPECT_EQ(shape(least + 2 * full)->sliding_blocks, none.sliding_blocks + 2);
  EXPECT_EQ(shape(least + windows * sliding * 2 + full)->sliding_blocks,
            none.sliding_blocks + windows);
  EXPECT_EQ(shape(0)->full_blocks, 4 * 8) << "all that four contexts need";
  EXPECT_EQ(shape(1 << 25)->full_blocks,
            static_cast<int>(((1 << 25) - (none.sliding_blocks + windows) * sliding) / full));
  const absl::Status status = shape(least - 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(testing::HasSubstr(absl::StrCat("at least ", least, " bytes")),
                             testing::HasSubstr(absl::StrCat("there are ", least - 1)),
                             testing::HasSubstr("--kv-memory")));
}

}  // namespace
}  // namespace softsplice
