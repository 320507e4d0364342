// The image tower against transformers' values, stage by stage, and against itself in batches.
#include "encoder_svc/model/vit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "encoder_svc/image/patches.h"
#include "encoder_svc/image/picture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend_factory.h"
#include "tests/support/read_file.h"
#include "tests/support/synth.h"

namespace softsplice {
namespace {

using ::softsplice::testing::ReadFile;
using ::softsplice::testing::SynthPicture;
using ::testing::HasSubstr;

constexpr char kModel[] = "tests/data/models/mmproj-tiny-F16.gguf";

using Stages = std::map<std::string, std::vector<float>>;

// See tests/data/image/make_stages.py.
Stages Goldens() {
  std::istringstream file(ReadFile("tests/data/image/tiny-stages.bin"));
  Stages stages;
  std::string name;
  size_t rows, columns;
  while (file >> name >> rows >> columns) {
    file.ignore(1);
    std::vector<float>& values = stages[name];
    values.resize(rows * columns);
    file.read(reinterpret_cast<char*>(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(float)));
  }
  return stages;
}

// |got - want| / |want|, Euclidean.
double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    size += double{want[i]} * want[i];
  }
  return std::sqrt(difference / size);
}

class VitTest : public ::testing::TestWithParam<const char*> {
 protected:
  void Load(Gelu gelu = Gelu::kTanh) {
    auto file = gguf::File::Open(kModel);
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
    auto backend = MakeBackend({.name = GetParam(), .threads = 2});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
    auto tower = Vit::Load(*file_, *backend_, gelu);
    ASSERT_TRUE(tower.ok()) << tower.status();
    tower_ = *std::move(tower);
  }

  std::vector<std::vector<float>> Encode(const std::vector<Patches>& pictures,
                                         const VitTap& tap = {}) {
    auto soft = tower_->Encode(pictures, tap);
    EXPECT_TRUE(soft.ok()) << soft.status();
    return soft.ok() ? *soft : std::vector<std::vector<float>>(pictures.size());
  }

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Vit> tower_;
};

Patches SynthPatches(int k, int width, int height) {
  return MakePatches(SynthPicture(k, width, height), 16);
}

TEST_P(VitTest, EqualsTheReferenceAtEveryStage) {
  Load();
  Stages seen;
  const auto tap = [&](absl::string_view stage, Mat x) {
    std::vector<float>& values = seen[std::string(stage)];
    values.resize(static_cast<size_t>(x.rows) * static_cast<size_t>(x.cols));
    backend_->Download(values.data(), x);
  };
  const auto soft = Encode({SynthPatches(7, 144, 96)}, tap);
  const Stages goldens = Goldens();
  for (const char* stage :
       {"patch_embed", "pos_embed", "block0", "block_last", "pool", "projector"}) {
    const std::vector<float>& want = goldens.at(stage);
    ASSERT_EQ(seen[stage].size(), want.size()) << stage;
    EXPECT_LT(RelativeError(seen[stage], want), 1e-5) << stage;
  }
  EXPECT_EQ(soft[0], seen["projector"]);
}

// llama.cpp takes the sigmoid form, from a table with half-precision input and output: two
// roundings of 2^-11 in each of three layers.
TEST_P(VitTest, EqualsLlamaCppWithItsActivation) {
  Load(Gelu::kQuick);
  const auto soft = Encode({SynthPatches(7, 144, 96)});
  const Stages goldens = Goldens();
  EXPECT_LT(RelativeError(soft[0], goldens.at("llama.projector")), 2 * 3 / 2048.0);
  EXPECT_GT(RelativeError(soft[0], goldens.at("projector")), 2 * 3 / 2048.0);
}

TEST_P(VitTest, GivesPicturesOfOneBatchWhatTheyGetAlone) {
  Load();
  const std::vector<Patches> pictures = {SynthPatches(1, 96, 48), SynthPatches(2, 480, 240),
                                         SynthPatches(3, 48, 336)};
  const auto together = Encode(pictures);
  for (size_t i = 0; i < pictures.size(); ++i) {
    EXPECT_EQ(together[i], Encode({pictures[i]})[0]) << i;
  }
}

TEST_P(VitTest, ForgetsLargerPicturesBeforeIt) {
  Load();
  const Patches small = SynthPatches(4, 96, 96);
  const auto before = Encode({small});
  Encode({SynthPatches(5, 336, 288)});
  EXPECT_EQ(Encode({small}), before);
}

TEST_P(VitTest, RefusesAPictureLongerThanThePositionTable) {
  Load();
  EXPECT_TRUE(tower_->CheckGrid(512, 3).ok());
  const absl::Status status = tower_->CheckGrid(3, 513);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("positions up to 512"));
}

INSTANTIATE_TEST_SUITE_P(Backends, VitTest, ::testing::Values("ref", "cpu", "cpu-generic"),
                         [](const ::testing::TestParamInfo<const char*>& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace softsplice
