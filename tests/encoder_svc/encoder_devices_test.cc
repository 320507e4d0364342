// The encoder on devices: several at once, too little memory, one that is lost.
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "common/status/reasons.h"
#include "encoder_svc/encoder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/devices.h"
#include "tests/encoder_svc/encoder_testing.h"
#include "tests/kernels/emulated/emulation.h"
#include "tests/support/png_writer.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint64_t kSpare = uint64_t{256} << 20;  // as the choice of backend has it

class EncoderOnDevicesTest : public ::testing::Test {
 protected:
  ~EncoderOnDevicesTest() override { emulation::Restore(); }

  static EncoderOptions Options(const std::string& backend, std::vector<int> devices = {0}) {
    EncoderOptions options;
    options.mmproj_path = "tests/data/models/mmproj-tiny-F16.gguf";
    options.backend = {.name = backend, .threads = 1};
    options.devices = std::move(devices);
    return options;
  }
  static Footprint Need() {
    const auto file = *gguf::File::Open(Options("").mmproj_path);
    return *Encoder::Measure(*file, Options("cuda"));
  }
};

TEST_F(EncoderOnDevicesTest, ShareOneQueue) {
  emulation::faults.device_count = 2;
  const auto alone = *Encoder::Load(Options("cuda"));
  const std::vector<float> expected = Hear(*alone, Pcm(0.3)).values();
  const auto both = *Encoder::Load(Options("cuda", {0, 1}));
  EXPECT_EQ(both->info().backend, "cuda emulation, device 0 and cuda emulation, device 1");
  EXPECT_EQ(both->info().devices, (std::vector<int>{0, 1}));
  const uint64_t first = *FreeBytes(0), second = *FreeBytes(1);
  EXPECT_LT(second, emulation::faults.memory);
  EXPECT_LT(first, second) << "which has one model less";
  // One device's thread is held by a receiver: the other one goes on.
  Holder held(*both);
  for (int i = 0; i < 3; ++i) {
    std::future<Heard> future = SubmitSound(*both, Pcm(0.3));
    ASSERT_TRUE(IsReady(future, std::chrono::seconds(100)));
    const Heard heard = future.get();
    ASSERT_TRUE(heard.status.ok()) << heard.status;
    EXPECT_EQ(heard.values(), expected);
  }
}

// What waits when a device is free goes in one pass, as far as the grids are equal; no bit of a
// picture depends on that.
TEST_F(EncoderOnDevicesTest, EncodeLikePicturesTogether) {
  EncoderOptions options = Options("cuda");
  options.decode_threads = 1;
  const auto encoder = *Encoder::Load(options);
  std::vector<ImageJob> like(2, Sample());
  like[1].data = BlackPng(640, 480);
  std::vector<EncodedImage> alone;
  for (const ImageJob& job : like) alone.push_back(*Encode(*encoder, ImageJob(job)));
  ASSERT_EQ(alone[0].layout.grid_columns, alone[1].layout.grid_columns);
  ASSERT_NE(*alone[0].values, *alone[1].values);
  std::vector<std::future<absl::StatusOr<EncodedImage>>> results;
  std::future<Heard> sound;
  {
    Holder held(*encoder);
    results.push_back(Submit(*encoder, like[0]));
    sound = SubmitSound(*encoder, Pcm(0.3));
    results.push_back(Submit(*encoder, like[1]));
    // Decoded behind them, and not for the device: when it is told, they wait for that.
    const std::string mp3 = ReadFile("tests/data/demo/samples/digits-314.mp3");
    EXPECT_TRUE(Hear(*encoder, {.data = mp3, .header_only = true}).status.ok());
    EXPECT_EQ(encoder->load().queued, 3);
  }
  const auto first = results[0].get(), second = results[1].get();
  ASSERT_TRUE(first.ok() && second.ok() && sound.get().status.ok());
  EXPECT_EQ(first->timings.forward, second->timings.forward) << "not one pass";
  EXPECT_EQ(*first->values, *alone[0].values);
  EXPECT_EQ(*second->values, *alone[1].values);
}

// Four at a time: no bit of a frame depends on which those are.
TEST_F(EncoderOnDevicesTest, EncodeFramesOfAVideoTogether) {
  EncoderOptions options = Options("cuda");
  options.ffmpeg = SOFTSPLICE_FFMPEG_PROGRAM;
  if (options.ffmpeg.empty()) GTEST_SKIP() << "this build has no softsplice-ffmpeg";
  const auto encoder = *Encoder::Load(options);
  const auto frames = [&](int count) {
    const Heard heard = Watch(*encoder, {.data = ReadFile("tests/data/video/few.webm"),
                                         .max_frames = count,
                                         .without_sound = true});
    EXPECT_TRUE(heard.status.ok()) << heard.status;
    EXPECT_EQ(heard.segments.size(), static_cast<size_t>(count));
    return heard.segments;
  };
  const auto all = frames(6), half = frames(3);
  for (size_t i = 0; i < half.size(); ++i) EXPECT_EQ(half[i], all[2 * i]) << i;
  EXPECT_NE(all[0], all[5]);
}

TEST_F(EncoderOnDevicesTest, TakeWhatWasCountedAtTheStart) {
  const Footprint need = Need();
  const uint64_t before = *FreeBytes(0);
  const auto encoder = *Encoder::Load(Options("cuda"));
  const uint64_t loaded = before - *FreeBytes(0);
  EXPECT_LE(loaded, need.Total());
  EXPECT_GE(loaded, need.Total() / 100 * 95);
  emulation::faults.allocation = 1;  // none comes
  ASSERT_TRUE(Hear(*encoder, Pcm(0.3)).status.ok());
  ASSERT_TRUE(Encode(*encoder, Sample(70)).ok());
  EXPECT_EQ(emulation::faults.allocation, 1);
  EXPECT_EQ(encoder->info().footprint.Total(), need.Total());
}

TEST_F(EncoderOnDevicesTest, NeedMemoryAndADriver) {
  emulation::faults.memory = Need().Total() + kSpare - 1;
  const absl::Status status = Encoder::Load(Options("cuda")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("the model needs "));
  EXPECT_THAT((*Encoder::Load(Options("auto")))->info().backend, StartsWith("cpu "));
  ++emulation::faults.memory;
  EXPECT_THAT((*Encoder::Load(Options("auto")))->info().backend, StartsWith("cuda "));
  EXPECT_THAT(Encoder::Load(Options("auto", {0, 1})).status().message(),
              HasSubstr("no device 1; there are 0 (emulation)"));
  emulation::faults.devices = cudaErrorInsufficientDriver;
  EXPECT_EQ(Encoder::Load(Options("cuda")).status().code(), absl::StatusCode::kInvalidArgument);
  const auto encoder = *Encoder::Load(Options("auto", {0, 1}));
  EXPECT_THAT(encoder->info().backend, StartsWith("cpu "));
  EXPECT_THAT(encoder->info().backend_why, HasSubstr("there is no driver"));
}

TEST_F(EncoderOnDevicesTest, AreNamedAndNotTwice) {
  emulation::faults.device_count = 2;
  EXPECT_THAT(Encoder::Load(Options("cuda", {})).status().message(), HasSubstr("no device"));
  const absl::Status twice = Encoder::Load(Options("cuda", {1, 1})).status();
  EXPECT_EQ(twice.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(twice.message(), HasSubstr("twice in 1,1"));
}

TEST_F(EncoderOnDevicesTest, EndWithOneThatIsLost) {
  EncoderOptions options = Options("cuda");
  std::vector<absl::Status> passes;
  options.on_pass = [&](const absl::Status& pass) { passes.push_back(pass); };
  const auto encoder = *Encoder::Load(options);
  EXPECT_TRUE(Hear(*encoder, Pcm(0.3)).status.ok());
  emulation::faults.launch = 20;
  const absl::Status status = Hear(*encoder, Pcm(0.3)).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(GetErrorDetail(status).reason, reason::kDeviceError);
  EXPECT_EQ(GetErrorDetail(encoder->health()).reason, reason::kDeviceError);
  ASSERT_EQ(passes.size(), 2u);
  EXPECT_TRUE(passes[0].ok());
  EXPECT_EQ(passes[1], status);
  EXPECT_FALSE(Hear(*encoder, Pcm(0.3)).status.ok());
}

TEST_F(EncoderOnDevicesTest, WorkAtOnce) {
  emulation::faults.device_count = 2;
  const auto both = *Encoder::Load(Options("cuda", {0, 1}));
  std::vector<std::future<Heard>> sounds;
  for (int i = 0; i < 2; ++i) sounds.push_back(SubmitSound(*both, Pcm(1)));
  bool seen = false;
  while (!seen && !IsReady(sounds[0]) && !IsReady(sounds[1])) {
    absl::SleepFor(absl::Milliseconds(1));
    seen = both->load().encoding == 2;
  }
  EXPECT_TRUE(seen);
  for (auto& sound : sounds) EXPECT_TRUE(sound.get().status.ok());
  EXPECT_EQ(both->load().encoding, 0);
}

// The encoder is given up by whoever asks for its health; until then the other one goes on.
TEST_F(EncoderOnDevicesTest, GiveALostOneNoMore) {
  emulation::faults.device_count = 2;
  const auto both = *Encoder::Load(Options("cuda", {0, 1}));
  emulation::faults.launch = 20;
  const absl::Status lost = Hear(*both, Pcm(0.3)).status;
  EXPECT_EQ(GetErrorDetail(lost).reason, reason::kDeviceError) << lost;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Hear(*both, Pcm(0.3)).status.ok());
  EXPECT_EQ(GetErrorDetail(both->health()).reason, reason::kDeviceError);
  emulation::faults.launch = 20;
  EXPECT_FALSE(Hear(*both, Pcm(0.3)).status.ok());
  EXPECT_FALSE(Hear(*both, Pcm(0.3)).status.ok()) << "there is none left";
}

}  // namespace
}  // namespace softsplice
