#include "decoder_svc/encoder_pool/fair_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "decoder_svc/encoder_pool/pace.h"

namespace softsplice {
namespace {

using testing::ElementsAre;

const int kKeys[3] = {};
const void* const kA = &kKeys[0];
const void* const kB = &kKeys[1];
const void* const kC = &kKeys[2];

bool Any(const std::string& /*item*/) { return true; }

std::vector<std::string> TakeAll(FairLine<std::string>& line) {
  std::vector<std::string> taken;
  while (auto item = line.Take(Any)) taken.push_back(*item);
  return taken;
}

TEST(FairLine, RequestsTakeTurns) {
  FairLine<std::string> line;
  for (const char* item : {"a1", "a2", "a3", "a4"}) line.AddLast(kA, item);
  line.AddLast(kB, "b1");
  line.AddLast(kC, "c1");
  line.AddLast(kC, "c2");
  EXPECT_EQ(line.size(), 7u);
  EXPECT_THAT(TakeAll(line), ElementsAre("a1", "b1", "c1", "a2", "c2", "a3", "a4"));
  EXPECT_EQ(line.size(), 0u);
}

TEST(FairLine, AManyMediaRequestDoesNotDelayThoseThatComeLater) {
  FairLine<std::string> line;
  for (int i = 0; i < 100; ++i) line.AddLast(kA, "a");
  line.AddLast(kB, "b");
  EXPECT_EQ(line.Place(kB), 2u);
  EXPECT_EQ(line.Place(kA), 101u);
  EXPECT_EQ(line.Place(kC), 0u);
  line.Take(Any);
  EXPECT_EQ(line.Take(Any), "b");
}

TEST(FairLine, OneThatComesBackIsTheNext) {
  FairLine<std::string> line;
  line.AddLast(kA, "a");
  line.AddLast(kB, "b2");
  line.AddFirst(kB, "b1");
  EXPECT_THAT(TakeAll(line), ElementsAre("b1", "a", "b2"));
}

TEST(FairLine, SkipsWhatDoesNotFit) {
  FairLine<std::string> line;
  line.AddLast(kA, "a1");
  line.AddLast(kA, "a2");
  line.AddLast(kB, "b1");
  EXPECT_EQ(line.Take([](const std::string& item) { return item == "a2"; }), "a2");
  EXPECT_EQ(line.Take([](const std::string& item) { return item == "x"; }), std::nullopt);
  line.RemoveIf([](const std::string& item) { return item == "a1"; });
  EXPECT_THAT(TakeAll(line), ElementsAre("b1"));
}

TEST(Pace, IsMeasuredWhileOthersWait) {
  const auto at = [](int seconds) { return absl::Seconds(seconds); };
  Pace pace;
  EXPECT_EQ(pace.Wait(10, at(0)), absl::ZeroDuration());
  pace.Served(at(1), false);
  pace.Served(at(10), true);
  EXPECT_EQ(pace.Wait(10, at(10)), absl::ZeroDuration());
  pace.Served(at(12), true);
  EXPECT_EQ(pace.Wait(10, at(12)), at(20));
  // An idle time is no slow encoder.
  pace.Rest();
  pace.Served(at(50), true);
  EXPECT_EQ(pace.Wait(10, at(50)), at(20));
  for (int i = 1; i < 100; ++i) pace.Served(at(50 + 4 * i), true);
  EXPECT_NEAR(absl::ToDoubleSeconds(pace.Wait(10, at(446))), 40, 0.1);
  // The next hour's line is another one.
  EXPECT_EQ(pace.Wait(10, at(3600)), absl::ZeroDuration());
  pace.Rest();
  pace.Served(at(3600), true);
  pace.Served(at(3601), true);
  EXPECT_EQ(pace.Wait(10, at(3601)), at(10));
}

}  // namespace
}  // namespace softsplice
