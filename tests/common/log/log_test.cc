#include "common/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

namespace softsplice {
namespace {

const absl::Time kTime = absl::FromUnixMicros(1'700'000'000'123'456);

TEST(LogLine, IsJsonWithFieldsInOrder) {
  const std::string line = FormatLogLine(
      LogFormat::kJson, kTime, LogLevel::kWarning, "call",
      {{"request_id", "abc"}, {"rows", 256}, DurationField("total", absl::Microseconds(1500))});
  EXPECT_EQ(line, R"({"time":"2023-11-14T22:13:20.123456Z","level":"warning","event":"call",)"
                  R"("request_id":"abc","rows":256,"total_seconds":0.0015})");
}

TEST(LogLine, JsonStaysOneLineWhateverTheText) {
  const std::string line = FormatLogLine(LogFormat::kJson, kTime, LogLevel::kInfo, "event",
                                         {{"message", "two\nlines \"quoted\" \xff"}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(line)["message"], "two\nlines \"quoted\" \uFFFD");
}

TEST(LogLine, TextQuotesWhatIsNoWord) {
  const std::string line =
      FormatLogLine(LogFormat::kText, kTime, LogLevel::kInfo, "serving",
                    {{"address", "unix:/tmp/a.sock"}, {"message", "no\nsuch file"}, {"n", 3}});
  EXPECT_EQ(line,
            "2023-11-14T22:13:20.123456Z info    serving address=unix:/tmp/a.sock "
            "message=\"no\\nsuch file\" n=3");
}

TEST(Logger, DropsWhatIsBelowItsLevel) {
  const Logger logger(LogFormat::kText, LogLevel::kWarning);
  testing::internal::CaptureStderr();
  logger.Log(LogLevel::kInfo, "quiet");
  logger.Log(LogLevel::kError, "loud");
  ASSERT_TRUE(logger.Flush());
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_THAT(written, testing::EndsWith("loud\n"));
  EXPECT_THAT(written, testing::Not(testing::HasSubstr("quiet")));
}

// A pipe; the logger writes into one end.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(ends_), 0); }
  ~Pipe() {
    CloseReader();
    close(ends_[1]);
  }
  int writer() const { return ends_[1]; }
  void CloseReader() {
    if (ends_[0] >= 0) close(ends_[0]);
    ends_[0] = -1;
  }
  // Reads until `text` has come.
  std::string ReadUntil(const std::string& text) {
    std::string read_so_far;
    char buffer[1 << 16];
    while (read_so_far.find(text) == std::string::npos) {
      const ssize_t size = read(ends_[0], buffer, sizeof(buffer));
      if (size <= 0) break;
      read_so_far.append(buffer, static_cast<size_t>(size));
    }
    return read_so_far;
  }

 private:
  int ends_[2] = {-1, -1};
};

TEST(Logger, NeitherWaitsForItsReaderNorKeepsMoreThanItsQueue) {
  Pipe pipe;
  const std::string text(1000, 'x');
  const Logger logger(LogFormat::kText, LogLevel::kInfo, pipe.writer());
  // Some ten times what the pipe and the queue hold: a call that waited would do so for ever.
  const int lines = 10 * (1 << 20) / 1000;
  for (int i = 0; i < lines; ++i) logger.Log(LogLevel::kInfo, "event", {{"text", text}});
  EXPECT_FALSE(logger.Flush());
  const std::string written = pipe.ReadUntil("log lines dropped count=");
  EXPECT_LT(written.size(), 2 * Logger::kQueueBytes);
  pipe.ReadUntil("\n");
  // And it goes on.
  logger.Log(LogLevel::kInfo, "later");
  EXPECT_THAT(pipe.ReadUntil("later\n"), testing::HasSubstr("info    later\n"));
}

TEST(Logger, EndsThoughNobodyReads) {
  Pipe pipe;
  const Logger logger(LogFormat::kText, LogLevel::kInfo, pipe.writer());
  for (int i = 0; i < 1000; ++i) logger.Print(std::string(1000, 'x'));
}

TEST(Logger, SurvivesItsReader) {
  Pipe pipe;
  const Logger logger(LogFormat::kText, LogLevel::kInfo, pipe.writer());
  pipe.CloseReader();
  for (int i = 0; i < 10; ++i) logger.Log(LogLevel::kInfo, "to nobody");
  EXPECT_TRUE(logger.Flush());
}

TEST(Logger, TellsWhatTheFileDidNotTake) {
  // Full until there is room: a file that may not grow, then may.
  char path[] = "/tmp/softsplice-log-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  unlink(path);
  rlimit limit = {};
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
  const Logger logger(LogFormat::kText, LogLevel::kInfo, fd);
  setrlimit(RLIMIT_FSIZE, &none);
  for (int i = 0; i < 3; ++i) logger.Print("lost");
  EXPECT_TRUE(logger.Flush());
  setrlimit(RLIMIT_FSIZE, &limit);
  logger.Print("kept");
  EXPECT_TRUE(logger.Flush());
  std::string text(200, '\0');
  text.resize(static_cast<size_t>(pread(fd, text.data(), text.size(), 0)));
  EXPECT_THAT(text, testing::StartsWith("kept\n"));
  EXPECT_THAT(text, testing::EndsWith("log lines dropped count=3\n"));
  close(fd);
}

}  // namespace
}  // namespace softsplice
