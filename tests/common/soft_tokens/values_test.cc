// Numbers to bytes and back.
#include "common/soft_tokens/values.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

// Of every size that all types have, and 0.
std::vector<float> Values() {
  std::vector<float> values = {0, -0.0f};
  for (int exponent = -14; exponent < 15; ++exponent) {
    for (const float mantissa : {1.0f, -1.3333333f, 1.9990234f}) {
      values.push_back(std::ldexp(mantissa, exponent));
    }
  }
  return values;
}

TEST(Values, ComeBackAsExactAsTheirTypeIs) {
  struct Case {
    v1::DataType type;
    float error;  // half of the last bit of a mantissa
  };
  for (const Case& c : {Case{v1::DATA_TYPE_F32, 0}, Case{v1::DATA_TYPE_F16, 1.0f / 2048},
                        Case{v1::DATA_TYPE_BF16, 1.0f / 256}}) {
    const std::vector<float> values = Values();
    const std::string bytes = PackValues(values, c.type);
    ASSERT_EQ(bytes.size(), values.size() * static_cast<size_t>(DataTypeBytes(c.type)));
    const auto back = UnpackValues(bytes, c.type);
    ASSERT_TRUE(back.ok()) << back.status();
    ASSERT_EQ(back->size(), values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_LE(std::abs((*back)[i] - values[i]), c.error * std::abs(values[i])) << c.type << i;
      EXPECT_EQ(std::signbit((*back)[i]), std::signbit(values[i]));
    }
    // What has been rounded stays as it is.
    EXPECT_EQ(PackValues(*back, c.type), bytes);
  }
}

TEST(Values, AreLittleEndian) {
  EXPECT_EQ(PackValues({1.0f}, v1::DATA_TYPE_F32), std::string("\0\0\x80\x3f", 4));
  EXPECT_EQ(PackValues({1.0f}, v1::DATA_TYPE_F16), std::string("\0\x3c", 2));
  EXPECT_EQ(PackValues({1.0f}, v1::DATA_TYPE_BF16), std::string("\x80\x3f", 2));
}

TEST(Values, MustBeFinite) {
  for (const v1::DataType type : {v1::DATA_TYPE_F32, v1::DATA_TYPE_F16, v1::DATA_TYPE_BF16}) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
      const absl::Status status = UnpackValues(PackValues({1, bad}, type), type).status();
      EXPECT_EQ(GetErrorDetail(status).reason, "NOT_FINITE") << status;
      EXPECT_EQ(GetErrorDetail(status).field, "data");
    }
  }
}

TEST(Values, AreInTheRangeOfTheirType) {
  for (const v1::DataType type : {v1::DATA_TYPE_F16, v1::DATA_TYPE_BF16, v1::DATA_TYPE_F32}) {
    // Every finite number of bfloat16 and its neighbours.
    for (uint32_t bits = 0; bits < 0x7f800000; bits += 0x8000) {
      for (const uint32_t near : {bits, bits + 1, bits + 0x7fff}) {
        const float value = std::bit_cast<float>(near);
        const bool finite = UnpackValues(PackValues({value}, type), type).ok();
        ASSERT_EQ(CheckRange({-value}, type).ok(), finite) << type << " " << value;
      }
    }
  }
  const absl::Status status = CheckRange({1, 70000}, v1::DATA_TYPE_F16);
  EXPECT_EQ(GetErrorDetail(status).field, "data_type");
  EXPECT_NE(status.message().find("DATA_TYPE_F16, which has no number as large as 70000"),
            absl::string_view::npos);
}

TEST(Values, HaveASizeByTheirType) {
  EXPECT_EQ(DataTypeBytes(v1::DATA_TYPE_UNSPECIFIED), 0);
  EXPECT_EQ(DataTypeBytes(static_cast<v1::DataType>(9)), 0);
}

}  // namespace
}  // namespace softsplice
