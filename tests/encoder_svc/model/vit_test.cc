// The image tower against transformers' values, stage by stage, and against itself in batches.
#include "encoder_svc/model/vit.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/image/picture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend_factory.h"
#include "tests/common/gguf/gguf_writer.h"
#include "tests/support/stages.h"
#include "tests/support/synth.h"
#include "tests/support/temp_folder.h"

namespace softsplice {
namespace {

using ::softsplice::testing::ReadStages;
using ::softsplice::testing::RelativeError;
using ::softsplice::testing::Stages;
using ::softsplice::testing::SynthPicture;
using ::testing::HasSubstr;

constexpr char kModel[] = "tests/data/models/mmproj-tiny-F16.gguf";
constexpr char kStages[] = "tests/data/image/tiny-stages.bin";  // see make_stages.py

class VitTest : public ::testing::TestWithParam<const char*> {
 protected:
  void Load(Gelu gelu = Gelu::kTanh, const std::string& path = kModel) {
    auto file = gguf::File::Open(path);
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
  const Stages goldens = ReadStages(kStages);
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
  const Stages goldens = ReadStages(kStages);
  EXPECT_LT(RelativeError(soft[0], goldens.at("llama.projector")), 2 * 3 / 2048.0);
  EXPECT_GT(RelativeError(soft[0], goldens.at("projector")), 2 * 3 / 2048.0);
}

// Larger models than E4B have two vectors more.
TEST_P(VitTest, StandardizesWhereTheFileSaysSo) {
  Load();
  const VisionConfig& c = tower_->config();
  const auto dim = static_cast<size_t>(c.dim);
  std::vector<float> bias, scale;
  for (size_t i = 0; i < dim; ++i) {
    bias.push_back(std::sin(static_cast<float>(i)));
    scale.push_back(1 + std::cos(static_cast<float>(3 * i)) / 2);
  }
  gguf::GgufWriter writer;
  writer.String("general.architecture", "clip").Bool("clip.has_vision_encoder", true);
  writer.String("clip.vision.projector_type", "gemma4v");
  const std::pair<const char*, int> sizes[] = {{"block_count", c.layers},
                                               {"embedding_length", c.dim},
                                               {"feed_forward_length", c.ffn},
                                               {"attention.head_count", c.heads},
                                               {"projection_dim", c.projection_dim}};
  for (const auto& [key, value] : sizes) writer.I32(absl::StrCat("clip.vision.", key), value);
  writer.F32("clip.vision.attention.layer_norm_epsilon", c.eps);
  for (const gguf::Tensor& tensor : file_->tensors()) {
    writer.Tensor(tensor.name, tensor.type, {tensor.dims.begin(), tensor.dims.end()},
                  std::string(reinterpret_cast<const char*>(tensor.data), tensor.bytes));
  }
  for (const auto& [name, values] : {std::pair("v.std_bias", &bias), {"v.std_scale", &scale}}) {
    writer.Tensor(name, gguf::Type::kF32, {dim},
                  std::string(reinterpret_cast<const char*>(values->data()), dim * sizeof(float)));
  }
  const TempFolder folder;
  const std::string path = folder / "standard.gguf";
  gguf::WriteFile(path, writer.Build());

  const gguf::Tensor* projector = file_->FindOptional("mm.input_projection.weight");
  std::vector<float> rows(static_cast<size_t>(projector->Elements()));
  gguf::Dequantize(projector->type, projector->data, rows.data(), projector->Elements());
  std::vector<float> pool = ReadStages(kStages).at("pool"), want;
  for (size_t first = 0; first < pool.size(); first += dim) {
    double square = 0;
    for (size_t i = 0; i < dim; ++i) {
      float& value = pool[first + i];
      value = (value - bias[i]) * scale[i];
      square += double{value} * value;
    }
    const double norm = std::sqrt(square / static_cast<double>(dim) + c.eps);
    for (size_t row = 0; row < rows.size(); row += dim) {
      double sum = 0;
      for (size_t i = 0; i < dim; ++i) sum += double{pool[first + i]} * rows[row + i];
      want.push_back(static_cast<float>(sum / norm));
    }
  }
  tower_ = nullptr;
  Load(Gelu::kTanh, path);
  const auto soft = Encode({SynthPatches(7, 144, 96)});
  ASSERT_EQ(soft[0].size(), want.size());
  EXPECT_LT(RelativeError(soft[0], want), 1e-5);
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
