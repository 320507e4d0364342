// A small GGUF file for tests whose keys can be replaced or removed one by one.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/gguf/file.h"
#include "gtest/gtest.h"
#include "tests/common/gguf/gguf_writer.h"

namespace softsplice {

class KeyedGguf {
 public:
  using Put = std::function<void(gguf::GgufWriter&, const std::string& key)>;

  void Set(const std::string& key, Put put) { keys_[key] = std::move(put); }
  void SetInt(const std::string& key, uint32_t v) {
    Set(key, [v](gguf::GgufWriter& w, const std::string& k) { w.U32(k, v); });
  }
  void SetInts(const std::string& key, const std::vector<int32_t>& v) {
    Set(key, [v](gguf::GgufWriter& w, const std::string& k) { w.I32s(k, v); });
  }
  void SetBools(const std::string& key, const std::vector<bool>& v) {
    Set(key, [v](gguf::GgufWriter& w, const std::string& k) { w.Bools(k, v); });
  }
  void SetBool(const std::string& key, bool v) {
    Set(key, [v](gguf::GgufWriter& w, const std::string& k) { w.Bool(k, v); });
  }
  void SetFloat(const std::string& key, float v) {
    Set(key, [v](gguf::GgufWriter& w, const std::string& k) { w.F32(k, v); });
  }
  void SetString(const std::string& key, const std::string& v) {
    Set(key, [v](gguf::GgufWriter& w, const std::string& k) { w.String(k, v); });
  }
  void Remove(const std::string& key) { keys_.erase(key); }
  // A tensor of zeros.
  void SetTensor(const std::string& name, const std::vector<uint64_t>& dims) {
    tensors_[name] = dims;
  }
  void RemoveTensor(const std::string& name) { tensors_.erase(name); }

  // The file, written and opened.
  std::unique_ptr<gguf::File> Open() const {
    gguf::GgufWriter writer;
    for (const auto& [key, put] : keys_) put(writer, key);
    for (const auto& [name, dims] : tensors_) writer.Zeros(name, gguf::Type::kF32, dims);
    const std::string path = absl::StrCat(testing::TempDir(), "keyed.", getpid(), ".gguf");
    gguf::WriteFile(path, writer.Build());
    auto file = gguf::File::Open(path);
    std::filesystem::remove(path);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

 private:
  std::map<std::string, Put> keys_;
  std::map<std::string, std::vector<uint64_t>> tensors_;
};

}  // namespace softsplice
