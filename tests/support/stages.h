// Arrays of a reference, by name: "name rows columns\n", then float32 rows, one after another.
#pragma once

#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/read_file.h"

namespace softsplice::testing {

using Stages = std::map<std::string, std::vector<float>>;

inline Stages ReadStages(const std::string& path) {
  std::istringstream file(ReadFile(path));
  Stages stages;
  std::string name;
  size_t rows, columns;
  while (file >> name >> rows >> columns) {
    file.ignore(1);
    std::vector<float>& values = stages[name];
    values.resize(rows * columns);
    file.read(reinterpret_cast<char*>(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(float)));
  }
  return stages;
}

// |got - want| / |want|, Euclidean. They are of one size.
inline double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    size += double{want[i]} * want[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace softsplice::testing
