#include "deploy/cli/bench/plot.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

PlottedRun RunAt(double load, double rate) {
  PlottedRun run = {.load = load};
  run.metrics.requests_rate = rate;
  run.metrics.good_rate = rate / 2;
  run.metrics.ttft = Summarize({100, 200, 300});
  run.metrics.itl = Summarize({10, 20});
  return run;
}

TEST(PlotTest, SeveralRunsAreCurvesOverTheLoad) {
  const std::string script = PlotScript({RunAt(0.5, 0.25), RunAt(2, 1)}, "requests", "a.png");
  EXPECT_THAT(script, HasSubstr("0.5 0.25 0.125 200 298 15 19.9\n2 1 0.5 200 298 15 19.9\nEND"));
  EXPECT_THAT(script, HasSubstr("set xlabel 'requests'"));
}

TEST(PlotTest, OneRunIsItsDistributions) {
  const std::string script = PlotScript({RunAt(1, 1)}, "users", "a.png");
  EXPECT_THAT(script, HasSubstr("$ttft << END\n100 0\n"));
  EXPECT_THAT(script, HasSubstr("\n200 50\n"));
  EXPECT_THAT(script, HasSubstr("\n300 100\nEND"));
  EXPECT_THAT(script, HasSubstr("$itl << END\n10 0\n"));
  EXPECT_THAT(script, Not(HasSubstr("users")));
}

TEST(PlotTest, NothingOfAPathIsACommand) {
  EXPECT_THAT(PlotScript({RunAt(1, 1)}, "", "it's '; quit; '.png"),
              HasSubstr("set output 'it''s ''; quit; ''.png'\n"));
}

}  // namespace
}  // namespace softsplice::bench
