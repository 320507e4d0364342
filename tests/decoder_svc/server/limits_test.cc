// README's table of limits beside the constants of the code, where there is no flag. (Those with
// one are compared in tests/system/lifecycle_test.py.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/server/admin_server.h"
#include "common/server/message.h"
#include "common/server/server.h"
#include "decoder_svc/engine/engine_options.h"
#include "decoder_svc/server/generate.h"
#include "encoder_svc/encoder_options.h"
#include "tests/support/read_file.h"

namespace softsplice {
namespace {

std::string Seconds(absl::Duration span) { return absl::StrCat(absl::ToInt64Seconds(span), " s"); }

std::string WithCommas(uint64_t number) {
  std::string digits = absl::StrCat(number);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) digits.insert(i, 1, ',');
  return digits;
}

// What is limited -> the limit, of the rows that name no flag.
std::map<std::string, std::string> LimitsWithoutFlag() {
  const std::string readme = testing::ReadFile("README.md");
  const size_t begin = readme.find("\n## Limits\n");
  const std::vector<std::string> lines =
      absl::StrSplit(readme.substr(begin, readme.find("\n## ", begin + 1) - begin), '\n');
  std::map<std::string, std::string> limits;
  for (const std::string& line : lines) {
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    if (cells.size() != 5 || !absl::StripAsciiWhitespace(cells[3]).empty()) continue;
    limits[std::string(absl::StripAsciiWhitespace(cells[1]))] =
        std::string(absl::StripAsciiWhitespace(cells[2]));
  }
  return limits;
}

TEST(Limits, AreThoseOfTheReadme) {
  const BorderOptions border;
  const std::map<std::string, std::string> expected = {
      {"a request's arrival, an answer's message being read",
       absl::StrCat(Seconds(border.upload_limit), ", ", Seconds(border.read_limit))},
      {"a video's frames",
       absl::StrFormat(
           "%d are read (`max_frames`: up to %d), of at most %s pixels (7,680 x 4,320), "
           "or of what a picture may have or there is memory for, if that is less",
           kDefaultFrames, kMostFrames, WithCommas(kMostFramePixels))},
      {"a connection without a call", Seconds(ServerOptions().max_connection_idle)},
      {"an answer that is written and not read",
       absl::StrFormat("%d MiB; then no more is written until %d KiB are left, for %s at most",
                       GenerateCall::kMostUnreadBytes >> 20, GenerateCall::kFewUnreadBytes >> 10,
                       Seconds(EngineOptions().max_hold))},
      {"operators: connections at once; a request; its time and its answer's",
       absl::StrCat(AdminServer::kThreads + AdminServer::kWaiting, "; ",
                    WithCommas(AdminServer::kMostRequestBytes), " bytes; ",
                    Seconds(AdminServer::kTimeLimit), " each")},
      {"values in one request, all fields counted", WithCommas(kMaxRequestValues)},
  };
  EXPECT_EQ(LimitsWithoutFlag(), expected);
}

TEST(Limits, OfConnectionsLeaveDescriptorsForOtherThings) {
  EXPECT_THAT(testing::ReadFile("README.md"),
              ::testing::HasSubstr(
                  absl::StrCat("| connections | ", WithCommas(ServerOptions().max_connections),
                               ", but ", kOtherDescriptors, " fewer than descriptors |")));
}

}  // namespace
}  // namespace softsplice
