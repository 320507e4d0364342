// Range-checked reading of hyperparameters from a GGUF file's metadata.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gguf/file.h"

namespace softsplice {

// Reads keys under one prefix ("gemma4."). Errors are InvalidFile and name key, value and limits.
class Keys {
 public:
  Keys(const gguf::File& file, absl::string_view prefix) : file_(file), prefix_(prefix) {}

  bool Has(absl::string_view key) const { return file_.Has(Full(key)); }
  absl::Status Int(absl::string_view key, int low, int high, int& out) const;
  absl::Status Float(absl::string_view key, double low, double high, float& out) const;
  // These leave `out` as it is if there is no such key.
  absl::Status OptionalInt(absl::string_view key, int low, int high, int& out) const;
  absl::Status OptionalFloat(absl::string_view key, double low, double high, float& out) const;
  // One value for each of `layers` layers: from an array of so many, or one number for all.
  absl::Status PerLayer(absl::string_view key, int layers, int low, int high,
                        std::vector<int>& out) const;
  // An error about `key`, whose value is `value`.
  absl::Status Error(absl::string_view key, int64_t value, absl::string_view expected) const;

 private:
  std::string Full(absl::string_view key) const;
  absl::Status Check(const std::string& key, int64_t value, int low, int high) const;

  const gguf::File& file_;
  std::string prefix_;
};

// "general.name", or the file's own name if it has none.
std::string ModelName(const gguf::File& file);

}  // namespace softsplice
