// A folder of one test, gone after it: no fixed names that two users' runs would share.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "gtest/gtest.h"

namespace softsplice {

class TempFolder {
 public:
  TempFolder() { path_ = mkdtemp(path_.data()); }
  ~TempFolder() {
    std::error_code gone;
    std::filesystem::remove_all(path_, gone);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = ::testing::TempDir() + "softsplice-test-XXXXXX";
};

}  // namespace softsplice
