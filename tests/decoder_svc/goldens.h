// Reads the flat files that tests/data/model/export.py writes.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace softsplice {

struct GoldenArray {
  std::vector<int> dims;
  std::vector<float> floats;  // one of these is filled
  std::vector<int32_t> ints;
};

class Goldens {
 public:
  explicit Goldens(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    EXPECT_FALSE(bytes.empty()) << path;
    const char* at = bytes.data();
    const auto number = [&] {
      uint32_t value = 0;
      std::memcpy(&value, at, 4);
      at += 4;
      return value;
    };
    while (at < bytes.data() + bytes.size()) {
      const uint32_t length = number();
      GoldenArray& array = arrays_[std::string(at, length)];
      at += length;
      const bool is_float = number() == 0;
      array.dims.resize(number());
      size_t count = 1;
      for (int& dim : array.dims) count *= dim = static_cast<int>(number());
      array.floats.resize(is_float ? count : 0);
      array.ints.resize(is_float ? 0 : count);
      std::memcpy(is_float ? static_cast<void*>(array.floats.data()) : array.ints.data(), at,
                  count * 4);
      at += count * 4;
    }
  }
  bool Has(const std::string& name) const { return arrays_.contains(name); }
  const std::vector<float>& Floats(const std::string& name) const {
    return arrays_.at(name).floats;
  }
  int Rows(const std::string& name) const { return arrays_.at(name).dims[0]; }
  const std::vector<int32_t>& Ints(const std::string& name) const { return arrays_.at(name).ints; }

 private:
  std::map<std::string, GoldenArray> arrays_;
};

// |got - want| / |want|, Euclidean.
inline double RelativeError(absl::Span<const float> got, absl::Span<const float> want) {
  EXPECT_EQ(got.size(), want.size());
  if (got.size() != want.size()) return 1;
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    size += double{want[i]} * want[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace softsplice
