#include "common/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

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
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_THAT(written, testing::EndsWith("loud\n"));
  EXPECT_THAT(written, testing::Not(testing::HasSubstr("quiet")));
}

}  // namespace
}  // namespace softsplice
