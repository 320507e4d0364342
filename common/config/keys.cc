#include "common/config/keys.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {

std::string Keys::Full(absl::string_view key) const { return absl::StrCat(prefix_, key); }

absl::Status Keys::Check(const std::string& key, int64_t value, int low, int high) const {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidFile(file_.path(), absl::StrCat("metadata \"", key, "\" is ", value,
                                                ", must be from ", low, " to ", high));
}

absl::Status Keys::Int(absl::string_view key, int low, int high, int& out) const {
  const std::string full = Full(key);
  ASSIGN_OR_RETURN(const int64_t value, file_.Int(full));
  RETURN_IF_ERROR(Check(full, value, low, high));
  out = static_cast<int>(value);
  return absl::OkStatus();
}

absl::Status Keys::Float(absl::string_view key, double low, double high, float& out) const {
  const std::string full = Full(key);
  ASSIGN_OR_RETURN(const double value, file_.Float(full));
  // Written so that NaN fails.
  if (!(value >= low && value <= high)) {
    return InvalidFile(file_.path(), absl::StrCat("metadata \"", full, "\" is ", value,
                                                  ", must be from ", low, " to ", high));
  }
  out = static_cast<float>(value);
  return absl::OkStatus();
}

absl::Status Keys::OptionalInt(absl::string_view key, int low, int high, int& out) const {
  return Has(key) ? Int(key, low, high, out) : absl::OkStatus();
}

absl::Status Keys::OptionalFloat(absl::string_view key, double low, double high, float& out) const {
  return Has(key) ? Float(key, low, high, out) : absl::OkStatus();
}

absl::Status Keys::PerLayer(absl::string_view key, int layers, int low, int high,
                            std::vector<int>& out) const {
  const std::string full = Full(key);
  if (!file_.IsArray(full)) {
    int value = 0;
    RETURN_IF_ERROR(Int(key, low, high, value));
    out.assign(layers, value);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> values, file_.Ints(full));
  if (values.size() != static_cast<size_t>(layers)) {
    return InvalidFile(file_.path(), absl::StrCat("metadata \"", full, "\" has ", values.size(),
                                                  " entries for ", layers, " layers"));
  }
  out.clear();
  for (const int64_t value : values) {
    RETURN_IF_ERROR(Check(full, value, low, high));
    out.push_back(static_cast<int>(value));
  }
  return absl::OkStatus();
}

absl::Status Keys::Error(absl::string_view key, int64_t value, absl::string_view expected) const {
  return InvalidFile(file_.path(), absl::StrCat("metadata \"", Full(key), "\" is ", value,
                                                ", must be ", expected));
}

std::string ModelName(const gguf::File& file) {
  const auto name = file.String("general.name");
  if (name.ok() && !name->empty()) return *name;
  absl::string_view base = file.path();
  base.remove_prefix(base.rfind('/') + 1);
  return std::string(absl::StripSuffix(base, ".gguf"));
}

}  // namespace softsplice
