// Reads a test's data file.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include "gtest/gtest.h"

namespace softsplice::testing {

// The bytes of `path`, from the source root. Fails the test when it can't be read.
inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace softsplice::testing
