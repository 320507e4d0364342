#include "decoder_svc/engine/fair_share.h"

#include <gtest/gtest.h>

namespace softsplice {
namespace {

TEST(FairShareTest, CountsWhatAClientHad) {
  FairShare shares;
  shares.Enter("a");
  shares.Enter("b");
  shares.Charge("a", 10);
  shares.Charge("a", 5);
  EXPECT_EQ(shares.Spent("a"), 15);
  EXPECT_EQ(shares.Spent("b"), 0);
}

TEST(FairShareTest, IdlingEarnsNoCredit) {
  FairShare shares;
  shares.Enter("a");
  shares.Enter("b");
  shares.Charge("a", 100);
  shares.Charge("b", 30);
  shares.Enter("late");
  EXPECT_EQ(shares.Spent("late"), 30) << "as the one who had least";
  shares.Enter("a");
  EXPECT_EQ(shares.Spent("a"), 100) << "it was never gone";
}

TEST(FairShareTest, LeavingForgivesNothing) {
  FairShare shares;
  shares.Enter("a");
  shares.Enter("b");
  shares.Charge("a", 100);
  shares.Leave("a");
  shares.Enter("a");
  EXPECT_EQ(shares.Spent("a"), 100);
  shares.Leave("a");
  shares.Charge("b", 150);
  shares.Enter("a");
  EXPECT_EQ(shares.Spent("a"), 150);
}

TEST(FairShareTest, RemembersNobodyInVain) {
  FairShare shares;
  shares.Enter("stays");
  shares.Charge("stays", 10);
  for (const char* client : {"b", "c", "d"}) {
    shares.Enter(client);
    shares.Leave(client);
  }
  EXPECT_EQ(shares.size(), 1u) << "they would start again where they stood";
  shares.Enter("had more");
  shares.Charge("had more", 1);
  shares.Leave("had more");
  EXPECT_EQ(shares.size(), 2u);
  shares.Leave("stays");
  EXPECT_EQ(shares.size(), 0u);
}

}  // namespace
}  // namespace softsplice
