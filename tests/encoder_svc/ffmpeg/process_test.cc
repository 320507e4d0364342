// Runs of programs that do not do what softsplice-ffmpeg does. `cat` says what the file has in it.
#include "encoder_svc/ffmpeg/process.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "common/time/steady.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string Message(FfmpegMessage kind, const std::string& bytes = "") {
  const FfmpegMessageHeader header{kind, static_cast<uint32_t>(bytes.size())};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + bytes;
}

struct Heard {
  absl::Status status;
  std::vector<std::pair<FfmpegMessage, std::string>> messages;
};

Heard RunOn(std::string program, std::vector<std::string> arguments, const std::string& file,
            absl::Duration most_time = absl::Seconds(30)) {
  Heard heard;
  heard.status = RunFfmpeg({.program = std::move(program),
                            .arguments = std::move(arguments),
                            .format = "file",
                            .file = file,
                            .most_time = most_time,
                            .go_on = [] { return absl::OkStatus(); },
                            .on_message =
                                [&](FfmpegMessage kind, absl::string_view bytes) {
                                  heard.messages.emplace_back(kind, bytes);
                                  return absl::OkStatus();
                                }});
  return heard;
}
Heard Cat(const std::string& file) { return RunOn("/bin/cat", {}, file); }
Heard Shell(const std::string& script) { return RunOn("/bin/sh", {"-c", script}, "file"); }

TEST(RunFfmpeg, GivesMessagesInOrderUntilTheEnd) {
  const std::string large(kMostFfmpegMessageBytes, 'x');
  const Heard heard =
      Cat(Message(FfmpegMessage::kLength, "12345678") + Message(FfmpegMessage::kSamples, large) +
          Message(FfmpegMessage::kSamples) + Message(FfmpegMessage::kEnd) +
          Message(FfmpegMessage::kUnreadable, "behind the end"));
  EXPECT_EQ(heard.status, absl::OkStatus());
  EXPECT_THAT(heard.messages,
              ElementsAre(Pair(FfmpegMessage::kLength, "12345678"),
                          Pair(FfmpegMessage::kSamples, large), Pair(FfmpegMessage::kSamples, "")));
}

TEST(RunFfmpeg, WantsAnEnd) {
  for (const std::string& file : {std::string("x"), Message(FfmpegMessage::kSamples, "abc"),
                                  Message(FfmpegMessage::kSamples, "abc").substr(0, 9)}) {
    const absl::Status status = Cat(file).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("ended with status 0"));
  }
  EXPECT_THAT(std::string(Shell("exit 3").status.message()), HasSubstr("ended with status 3"));
}

TEST(RunFfmpeg, TakesNoLongMessage) {
  const std::string file = Message(FfmpegMessage::kSamples, std::string((1 << 20) + 1, 'x'));
  EXPECT_EQ(Cat(file).status.code(), absl::StatusCode::kInternal);
}

TEST(RunFfmpeg, TellsThatMemoryOrTimeWereShortOrTheFileIsUnreadable) {
  const absl::Status memory = Cat(Message(FfmpegMessage::kOutOfMemory)).status;
  EXPECT_EQ(GetErrorDetail(memory).reason, "OVER_LIMIT");
  EXPECT_THAT(std::string(memory.message()),
              HasSubstr("more memory to be decoded than the 64 MiB"));
  const absl::Status unreadable = Cat(Message(FfmpegMessage::kUnreadable, "is \x1b[31mred")).status;
  EXPECT_EQ(GetErrorDetail(unreadable).reason, "INVALID_MEDIA");
  EXPECT_EQ(unreadable.message(), "the file is ?[31mred");
  const absl::Duration start = SteadyNow();
  const absl::Status late = RunOn("/bin/sleep", {"100"}, "file", absl::Milliseconds(300)).status;
  EXPECT_LT(SteadyNow() - start, absl::Seconds(20));
  EXPECT_EQ(GetErrorDetail(late).reason, "OVER_LIMIT");
  EXPECT_THAT(std::string(late.message()), HasSubstr("longer to be decoded than the 300ms"));
}

TEST(RunFfmpeg, CountsNoTimeThatItsReaderTakes) {
  const std::string file = Message(FfmpegMessage::kSamples) + Message(FfmpegMessage::kEnd);
  const absl::Status status = RunFfmpeg({.program = "/bin/sh",
                                         .arguments = {"-c", "head -c 8; sleep 0.1; cat"},
                                         .file = file,
                                         .most_time = absl::Seconds(1),
                                         .go_on = [] { return absl::OkStatus(); },
                                         .on_message =
                                             [](FfmpegMessage, absl::string_view) {
                                               absl::SleepFor(absl::Milliseconds(1300));
                                               return absl::OkStatus();
                                             }});
  EXPECT_EQ(status, absl::OkStatus());
}

// A file that makes a decoder crash is the client's.
TEST(RunFfmpeg, SurvivesACrash) {
  const absl::Status status = Shell("kill -SEGV $$").status;
  EXPECT_EQ(GetErrorDetail(status).reason, "INVALID_MEDIA");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("ended with signal 11 (Segmentation fault)"));
}

TEST(RunFfmpeg, TellsThatTheProgramIsNotThere) {
  const absl::Status status = RunOn("/no/such/program", {}, "file").status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("running /no/such/program"));
}

TEST(RunFfmpeg, EndsWithWhomItIsFor) {
  int asked = 0;
  const absl::Status stopped = RunFfmpeg(
      {.program = "/bin/sleep",
       .arguments = {"100"},
       .file = "file",
       .most_time = absl::Seconds(60),
       .go_on = [&] { return ++asked < 3 ? absl::OkStatus() : absl::CancelledError("gone"); },
       .on_message = [](FfmpegMessage, absl::string_view) { return absl::OkStatus(); }});
  EXPECT_EQ(stopped, absl::CancelledError("gone"));
  const std::string file = Message(FfmpegMessage::kSamples) + Message(FfmpegMessage::kEnd);
  const absl::Status refused = RunFfmpeg(
      {.program = "/bin/cat",
       .file = file,
       .most_time = absl::Seconds(60),
       .go_on = [] { return absl::OkStatus(); },
       .on_message = [](FfmpegMessage, absl::string_view) { return absl::DataLossError("no"); }});
  EXPECT_EQ(refused, absl::DataLossError("no"));
}

// It gets the file, which it can't change, a pipe, and nothing else of this process.
TEST(RunFfmpeg, HasNothingOfOurs) {
  const Heard heard = Shell(
      "test \"$(ls /proc/self/fd | tr '\\n' ' ')\" = '0 1 2 3 ' || exit 11;"
      "test \"$(cat)\" = file || exit 12; echo x 2> /dev/null >&0 && exit 13; exit 14");
  EXPECT_THAT(std::string(heard.status.message()), HasSubstr("ended with status 14"));
}

}  // namespace
}  // namespace softsplice
