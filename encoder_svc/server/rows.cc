#include "encoder_svc/server/rows.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "common/gguf/half.h"
#include "common/hash/crc32c.h"

namespace softsplice {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int kChunkBytes = 1 << 20;

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

std::string PackValues(absl::Span<const float> values, v1::DataType type) {
  if (type == v1::DATA_TYPE_BF16) return Pack16<FloatToBF16>(values);
  if (type == v1::DATA_TYPE_F16) return Pack16<FloatToHalf>(values);
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

RowChunks::RowChunks(absl::Span<const float> values, int dim, v1::DataType type)
    : values_(values),
      dim_(dim),
      type_(type),
      rows_(static_cast<int>(values.size()) / dim),
      chunk_rows_(std::max(1, kChunkBytes / (dim * DataTypeBytes(type)))) {}

void RowChunks::Next(v1::SoftTokenRows* rows) {
  const int count = std::min(chunk_rows_, rows_ - next_row_);
  const size_t dim = static_cast<size_t>(dim_);
  std::string data = PackValues(values_.subspan(next_row_ * dim, count * dim), type_);
  crc32c_ = Crc32c(data, crc32c_);
  rows->set_first_row(next_row_);
  rows->set_data(std::move(data));
  next_row_ += count;
}

}  // namespace softsplice
