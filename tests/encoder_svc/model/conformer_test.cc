// The audio tower against transformers' values, stage by stage, and against itself in batches.
#include "encoder_svc/model/conformer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend_factory.h"
#include "tests/support/stages.h"

namespace softsplice {
namespace {

using ::softsplice::testing::ReadStages;
using ::softsplice::testing::RelativeError;
using ::softsplice::testing::Stages;
using ::testing::Each;
using ::testing::SizeIs;
using ::testing::Truly;

constexpr char kModel[] = "tests/data/models/mmproj-tiny-F16.gguf";
constexpr char kStages[] = "tests/data/audio/tiny-stages.bin";  // see make_stages.py

MelFrames Frames(std::vector<float> values) {
  return {static_cast<int>(values.size()) / kMelBins, std::move(values)};
}

// The first `count` frames of `values`.
MelFrames FirstFrames(const std::vector<float>& values, int count) {
  return Frames({values.begin(), values.begin() + count * kMelBins});
}

// Waves of numbers as log-mel frames have them; another `seed`, another sound.
MelFrames Waves(int seed, int frames) {
  std::vector<float> values;
  for (int i = 0; i < frames; ++i) {
    for (int bin = 0; bin < kMelBins; ++bin) {
      const auto angle = static_cast<float>((3 + seed) * i + 7 * bin * (1 + i % (2 + seed)));
      values.push_back(-1 + 6 * std::sin(angle / 11));
    }
  }
  return Frames(std::move(values));
}

bool IsFinite(float value) { return std::isfinite(value); }

class ConformerTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto file = gguf::File::Open(kModel);
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
    auto backend = MakeBackend({.name = GetParam(), .threads = 2});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
    auto tower = Conformer::Load(*file_, *backend_);
    ASSERT_TRUE(tower.ok()) << tower.status();
    tower_ = *std::move(tower);
  }

  std::vector<std::vector<float>> Encode(const std::vector<MelFrames>& sounds,
                                         const ConformerTap& tap = {}) {
    auto soft = tower_->Encode(sounds, tap);
    EXPECT_TRUE(soft.ok()) << soft.status();
    return soft.ok() ? *soft : std::vector<std::vector<float>>(sounds.size());
  }
  size_t Size(const MelFrames& sound) const {
    return static_cast<size_t>(SoundTokenCount(sound.frames)) *
           static_cast<size_t>(tower_->config().projection_dim);
  }

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Conformer> tower_;
};

TEST_P(ConformerTest, EqualsTheReferenceAtEveryStage) {
  const Stages goldens = ReadStages(kStages);
  Stages seen;
  const auto tap = [&](absl::string_view stage, Mat x) {
    std::vector<float>& values = seen[std::string(stage)];
    values.resize(static_cast<size_t>(x.rows) * static_cast<size_t>(x.cols));
    backend_->Download(values.data(), x);
  };
  const auto soft = Encode({Frames(goldens.at("mel"))}, tap);
  for (const char* stage : {"subsample", "block0", "block_last", "output_proj", "projector"}) {
    const std::vector<float>& want = goldens.at(stage);
    ASSERT_EQ(seen[stage].size(), want.size()) << stage;
    EXPECT_LT(RelativeError(seen[stage], want), 1e-5) << stage;
  }
  EXPECT_EQ(soft[0], seen["projector"]);
}

// A sound's end shows in its last row: paddings of the convolutions, odd numbers of frames.
TEST_P(ConformerTest, EndsSoundsOfEveryLengthAsTheReference) {
  const Stages goldens = ReadStages(kStages);
  const std::vector<float>& last = goldens.at("lengths.last");
  const auto dim = static_cast<size_t>(tower_->config().projection_dim);
  for (int frames = 1; frames <= 60; ++frames) {
    const MelFrames sound = FirstFrames(goldens.at("lengths.mel"), frames);
    const std::vector<float> soft = Encode({sound})[0];
    ASSERT_THAT(soft, SizeIs(Size(sound))) << frames;
    const auto want = last.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(frames - 1) * dim);
    EXPECT_LT(RelativeError({soft.end() - static_cast<ptrdiff_t>(dim), soft.end()},
                            {want, want + static_cast<ptrdiff_t>(dim)}),
              1e-5)
        << frames;
  }
}

TEST_P(ConformerTest, GivesSoundsOfOneBatchWhatTheyGetAlone) {
  std::vector<MelFrames> sounds = {Waves(1, 5), Waves(2, 421), Waves(3, 1), Waves(4, 64)};
  for (int frames = 1; frames <= 60; ++frames) sounds.push_back(Waves(frames, frames));
  const auto together = Encode(sounds);
  for (size_t i = 0; i < sounds.size(); ++i) {
    EXPECT_THAT(together[i], SizeIs(Size(sounds[i]))) << i;
    EXPECT_THAT(together[i], Each(Truly(IsFinite))) << i;
    EXPECT_EQ(together[i], Encode({sounds[i]})[0]) << i;
  }
}

TEST_P(ConformerTest, ForgetsLargerSoundsBeforeIt) {
  const MelFrames small = Waves(4, 30);
  const auto before = Encode({small});
  Encode({Waves(5, 700)});
  EXPECT_EQ(Encode({small}), before);
}

TEST_P(ConformerTest, StaysFiniteWhateverTheFrames) {
  for (const float value : {0.0f, std::log(0.001f), 1e4f, -1e4f, 1e18f}) {
    const MelFrames sound = Frames(std::vector<float>(50 * kMelBins, value));
    EXPECT_THAT(Encode({sound})[0], Each(Truly(IsFinite))) << value;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, ConformerTest, ::testing::Values("ref", "cpu", "cpu-generic"),
                         [](const ::testing::TestParamInfo<const char*>& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace softsplice
