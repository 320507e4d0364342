#include "common/server/model_wait.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/time/steady.h"
#include "tests/common/gguf/gguf_writer.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Minutes(5);
constexpr absl::Duration kSoon = absl::Milliseconds(400);

const Logger& Quiet() {
  static const Logger logger(LogFormat::kText, LogLevel::kError, -1);
  return logger;
}

class ModelWaitTest : public testing::Test {
 protected:
  ModelWaitTest() : dir_(absl::StrCat(testing::TempDir(), "model_wait_test.", getpid(), "/")) {
    std::filesystem::create_directories(dir_);
  }
  ~ModelWaitTest() override { std::filesystem::remove_all(dir_); }

  // Part `no` (from 0) of a file of two, as a fetcher puts it there.
  void PutPart(int no) const {
    gguf::GgufWriter writer;
    writer.U16("split.no", static_cast<uint16_t>(no));
    writer.U16("split.count", 2);
    writer.I32("split.tensors.count", 2);
    writer.Tensor(absl::StrCat("t", no), gguf::Type::kF32, {1}, std::string(4, '\0'));
    const std::string path = absl::StrCat(dir_, "m-0000", no + 1, "-of-00002.gguf");
    gguf::WriteFile(path + ".tmp", writer.Build());
    std::filesystem::rename(path + ".tmp", path);
  }

  std::string dir_;
};

TEST_F(ModelWaitTest, WaitsForNothingThatIsThereOrIsNotWaitedFor) {
  StopSignal stop;
  EXPECT_EQ(WaitForModel(dir_ + "none.gguf", absl::ZeroDuration(), stop, Quiet()).value(), true);
  gguf::WriteFile(dir_ + "no-model.gguf", "x");
  EXPECT_EQ(WaitForModel(dir_ + "no-model.gguf", kLong, stop, Quiet()).value(), true);
}

TEST_F(ModelWaitTest, WaitsForEveryPart) {
  StopSignal stop;
  const std::string path = dir_ + "m-00001-of-00002.gguf";
  std::thread fetcher([&] {
    for (const int no : {0, 1}) {
      std::this_thread::sleep_for(absl::ToChronoMilliseconds(kSoon));
      PutPart(no);
    }
  });
  const absl::Duration start = SteadyNow();
  EXPECT_EQ(WaitForModel(path, kLong, stop, Quiet()).value(), true);
  EXPECT_GE(SteadyNow() - start, 2 * kSoon);
  EXPECT_TRUE(std::filesystem::exists(dir_ + "m-00002-of-00002.gguf"));
  fetcher.join();
}

TEST_F(ModelWaitTest, NamesWhatDidNotCome) {
  StopSignal stop;
  PutPart(0);
  const absl::Status end =
      WaitForModel(dir_ + "m-00001-of-00002.gguf", kSoon, stop, Quiet()).status();
  EXPECT_EQ(end.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(end.message()), HasSubstr("m-00002-of-00002.gguf: can't be read"));
  EXPECT_THAT(std::string(end.message()), HasSubstr("did not come within 400ms"));
}

TEST_F(ModelWaitTest, EndsWithASignal) {
  StopSignal stop;
  std::thread killer([] {
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kSoon));
    kill(getpid(), SIGTERM);
  });
  EXPECT_EQ(WaitForModel(dir_ + "none.gguf", kLong, stop, Quiet()).value(), false);
  killer.join();
}

TEST_F(ModelWaitTest, LeavesSignalsAsTheyWereBefore) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        StopSignal stop;
        std::thread fetcher([&] {
          std::this_thread::sleep_for(absl::ToChronoMilliseconds(kSoon));
          gguf::WriteFile(dir_ + "late.gguf", "x");
        });
        const bool there = WaitForModel(dir_ + "late.gguf", kLong, stop, Quiet()).value();
        fetcher.join();
        if (there) raise(SIGTERM);
        _exit(0);
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
}

}  // namespace
}  // namespace softsplice
