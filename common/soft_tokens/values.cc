#include "common/soft_tokens/values.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/gguf/half.h"
#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

static_assert(std::endian::native == std::endian::little);

template <class Stored, float (*kConvert)(Stored)>
std::vector<float> Unpack(absl::string_view bytes) {
  std::vector<float> values(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = kConvert(stored);
  }
  return values;
}

float Same(float value) { return value; }

template <uint16_t (*kConvert)(float)>
std::string Pack16(absl::Span<const float> values) {
  std::string bytes(values.size() * sizeof(uint16_t), '\0');
  char* out = bytes.data();
  for (const float value : values) {
    const uint16_t bits = kConvert(value);
    std::memcpy(out, &bits, sizeof(bits));
    out += sizeof(bits);
  }
  return bytes;
}

// The smallest number that is rounded to infinity: half a step above the largest one.
float FirstInfinity(v1::DataType type) {
  if (type == v1::DATA_TYPE_F16) return 65520.0f;
  if (type == v1::DATA_TYPE_BF16) return std::bit_cast<float>(0x7f7f8000u);
  return std::numeric_limits<float>::infinity();
}

}  // namespace

int DataTypeBytes(v1::DataType type) {
  switch (type) {
    case v1::DATA_TYPE_F32:
      return 4;
    case v1::DATA_TYPE_F16:
    case v1::DATA_TYPE_BF16:
      return 2;
    default:
      return 0;
  }
}

absl::Status CheckRange(absl::Span<const float> values, v1::DataType type) {
  const float limit = FirstInfinity(type);
  for (const float value : values) {
    if (std::abs(value) < limit) continue;
    return InvalidField("data_type",
                        absl::StrCat("data_type is ", v1::DataType_Name(type),
                                     ", which has no number as large as ", value, "; ask for F32"));
  }
  return absl::OkStatus();
}

std::string PackValues(absl::Span<const float> values, v1::DataType type) {
  if (type == v1::DATA_TYPE_BF16) return Pack16<FloatToBF16>(values);
  if (type == v1::DATA_TYPE_F16) return Pack16<FloatToHalf>(values);
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

absl::StatusOr<std::vector<float>> UnpackValues(absl::string_view bytes, v1::DataType type) {
  std::vector<float> values;
  if (type == v1::DATA_TYPE_F32) {
    values = Unpack<float, Same>(bytes);
  } else if (type == v1::DATA_TYPE_F16) {
    values = Unpack<uint16_t, HalfToFloat>(bytes);
  } else {
    values = Unpack<uint16_t, BF16ToFloat>(bytes);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("number ", i, " of data is ", values[i], ", not finite"),
                     {.reason = reason::kNotFinite, .field = "data"});
  }
  return values;
}

}  // namespace softsplice
