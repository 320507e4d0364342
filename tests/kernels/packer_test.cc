// What a loader gets from a file, and what it refuses.
#include "kernels/packer.h"

#include <gmock/gmock.h>

#include <limits>
#include <memory>
#include <string>

#include "common/status/error.h"
#include "tests/common/gguf/gguf_writer.h"
#include "tests/kernels/testing.h"
#include "tests/support/temp_folder.h"

namespace softsplice::testing {
namespace {

using ::testing::HasSubstr;

// A file with the vector a.scale.weight, the matrix a.linear.weight [2, 3] with a bound, and the
// kernels a.kernel.weight of 2 outputs, 3 channels and 2 x 2 pixels; all count from 0 on.
class PackerTest : public ::testing::Test {
 protected:
  static std::string Counted(int count, float first = 0) {
    gguf::Bytes bytes;
    for (int i = 0; i < count; ++i) bytes.Put(first + static_cast<float>(i));
    return bytes.str();
  }
  std::unique_ptr<gguf::File> Open(float first = 0) const {
    gguf::GgufWriter writer;
    writer.Tensor("a.scale.weight", gguf::Type::kF32, {3}, Counted(3, first));
    writer.Tensor("a.linear.weight", gguf::Type::kF32, {3, 2}, Counted(6, first));
    writer.Tensor("a.linear.input_max", gguf::Type::kF32, {1}, Counted(1, 1.5f));
    writer.Tensor("a.kernel.weight", gguf::Type::kF32, {2, 2, 3, 2}, Counted(24, first));
    gguf::WriteFile(path_, writer.Build());
    return *gguf::File::Open(path_);
  }

  const TempFolder folder_;
  const std::string path_ = folder_ / "packer_test.gguf";
  std::unique_ptr<Backend> backend_ = MakeRefBackend();
};

TEST_F(PackerTest, PacksByPrefixNameAndShape) {
  const auto file = Open();
  const Packer pack(*file, *backend_, "a.");
  Weight w;
  ASSERT_TRUE(pack.Clipped(w, "linear", 3, 2).ok());
  EXPECT_EQ(w.rows, 2);
  EXPECT_EQ(w.cols, 3);
  EXPECT_EQ(w.in_hi, 1.5f);
  EXPECT_EQ(w.in_lo, -std::numeric_limits<float>::infinity());
  ASSERT_TRUE(pack.Table(w, "linear", 3, 2).ok());
  const HostMat rows = RunOn(*backend_, [&](Device& on) {
    const Mat y = on.New(1, 3);
    on->Embed(y, on.Ints({1}), w, 1);
    return y;
  });
  for (int c = 0; c < 3; ++c) EXPECT_EQ(rows(0, c), 3 + c);
  for (const absl::Status& refused : {pack.Linear(w, "linear", 2, 3), pack.Linear(w, "none", 3, 2),
                                      pack.Vector(w, "scale", 4), pack.Table(w, "linear", 3, 3)}) {
    EXPECT_EQ(GetErrorDetail(refused).reason, "INVALID_FILE") << refused;
  }
}

TEST_F(PackerTest, ConvolutionsAreLinearWithTheChannelsLast) {
  const auto file = Open();
  Weight w;
  ASSERT_TRUE(Packer(*file, *backend_, "a.").Convolution(w, "kernel", 2, 3, 2).ok());
  // Rows of the unit matrix give the weights' columns.
  HostMat unit(12, 12);
  for (int r = 0; r < 12; ++r) {
    for (int c = 0; c < 12; ++c) unit(r, c) = r == c ? 1 : 0;
  }
  const HostMat columns = RunOn(*backend_, [&](Device& on) {
    const Mat y = on.New(12, 2);
    on->Matmul(y, on.Copy(unit), w);
    return y;
  });
  for (int out = 0; out < 2; ++out) {
    for (int pixel = 0; pixel < 4; ++pixel) {
      for (int channel = 0; channel < 3; ++channel) {
        EXPECT_EQ(columns(3 * pixel + channel, out), 12 * out + 4 * channel + pixel);
      }
    }
  }
}

TEST_F(PackerTest, RefusesWhatIsNoNumberWhereAskedTo) {
  const auto file = Open(std::numeric_limits<float>::infinity());
  const Packer finite(*file, *backend_, "a.");
  const Packer any(*file, *backend_, "a.", Values::kAny);
  Weight w;
  for (const absl::Status& refused :
       {finite.Vector(w, "scale", 3), finite.Scaled(w, "scale.weight", 3),
        finite.Linear(w, "linear", 3, 2), finite.Convolution(w, "kernel", 2, 3, 2)}) {
    EXPECT_EQ(GetErrorDetail(refused).reason, "INVALID_FILE");
    EXPECT_THAT(std::string(refused.message()), HasSubstr("tensor a."));
  }
  EXPECT_TRUE(any.Linear(w, "linear", 3, 2).ok());
  EXPECT_TRUE(any.Convolution(w, "kernel", 2, 3, 2).ok());
}

}  // namespace
}  // namespace softsplice::testing
