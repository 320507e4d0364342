#include "deploy/cli/bench/trace.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice::bench {
namespace {

TEST(TraceTest, HasTheGapsAndLengthsOfItsLines) {
  const auto trace = ParseTrace(
      "{\"timestamp\": 5000, \"input_length\": 700, \"output_length\": 3, \"hash_ids\": [0, 9]}\n"
      "\n"
      "{\"timestamp\": 5000.5, \"input_length\": 1, \"output_length\": 20, \"more\": {}}\r\n"
      "{\"timestamp\": 8000, \"input_length\": 2, \"output_length\": 1, \"hash_ids\": []}\n");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 3u);
  EXPECT_EQ((*trace)[0].after, absl::ZeroDuration());
  EXPECT_EQ((*trace)[0].prompt_tokens, 700);
  EXPECT_EQ((*trace)[0].answer_tokens, 3);
  EXPECT_THAT((*trace)[0].blocks, testing::ElementsAre(0, 9));
  EXPECT_EQ((*trace)[1].after, absl::Microseconds(500));
  EXPECT_EQ((*trace)[1].answer_tokens, 20);
  EXPECT_THAT((*trace)[1].blocks, testing::IsEmpty());
  EXPECT_EQ((*trace)[2].after, absl::Microseconds(2999500));
}

TEST(TraceTest, NamesTheLineAndWhatIsWrongWithIt) {
  const std::string good = "{\"timestamp\": 10, \"input_length\": 7, \"output_length\": 3}\n";
  const auto refused = [&](const std::string& line, const std::string& words) {
    const absl::Status status = ParseTrace(good + line).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("line 2")) << line;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(words)) << line;
  };
  refused("timestamp,input_length", "not an object");
  refused("[1, 2]", "not an object");
  refused("{\"input_length\": 7, \"output_length\": 3}", "timestamp");
  refused("{\"timestamp\": \"10\", \"input_length\": 7, \"output_length\": 3}", "timestamp");
  refused("{\"timestamp\": 9, \"input_length\": 7, \"output_length\": 3}", "from 10 on");
  refused("{\"timestamp\": 10, \"output_length\": 3}", "input_length");
  refused("{\"timestamp\": 10, \"input_length\": 0, \"output_length\": 3}", "input_length");
  refused("{\"timestamp\": 10, \"input_length\": 7, \"output_length\": 1e99}", "output_length");
  refused("{\"timestamp\": 10, \"input_length\": 7, \"output_length\": 3000000000}",
          "output_length");
  refused("{\"timestamp\": 10, \"input_length\": 7, \"output_length\": 3, \"hash_ids\": 4}",
          "hash_ids");
  refused("{\"timestamp\": 10, \"input_length\": 7, \"output_length\": 3, \"hash_ids\": [-1]}",
          "hash_ids");
  EXPECT_EQ(ParseTrace("\n").status().message(), "the trace has no request");
}

}  // namespace
}  // namespace softsplice::bench
