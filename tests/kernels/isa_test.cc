#include "kernels/cpu/isa.h"

#include "gtest/gtest.h"

namespace softsplice {
namespace {

TEST(IsaTest, Names) {
  EXPECT_EQ(IsaName(Isa::kGeneric), "generic");
  EXPECT_EQ(IsaName(Isa::kAvx2), "avx2");
  EXPECT_EQ(IsaName(Isa::kAvx512), "avx512");
}

TEST(IsaTest, TheBestIsSupported) {
  EXPECT_TRUE(Supported(Isa::kGeneric));
  EXPECT_TRUE(Supported(BestIsa()));
  EXPECT_EQ(Supported(Isa::kAvx2), BestIsa() != Isa::kGeneric);
}

}  // namespace
}  // namespace softsplice
