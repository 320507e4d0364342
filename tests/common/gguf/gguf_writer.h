// Writes small GGUF v3 files for tests: right ones by default, wrong ones on request.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "common/gguf/types.h"

namespace softsplice::gguf {

// The little-endian bytes of numbers and strings, one after another.
class Bytes {
 public:
  template <class T>
  Bytes& Put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    data_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Bytes& PutString(const std::string& text) {
    Put<uint64_t>(text.size());
    data_ += text;
    return *this;
  }
  Bytes& PutRaw(const std::string& raw) {
    data_ += raw;
    return *this;
  }
  const std::string& str() const { return data_; }
  size_t size() const { return data_.size(); }

 private:
  std::string data_;
};

class GgufWriter {
 public:
  // Header fields that a test may falsify before Build().
  std::string magic = "GGUF";
  uint32_t version = 3;
  int64_t extra_tensors = 0;  // added to the tensor count
  int64_t extra_pairs = 0;    // added to the metadata count
  uint32_t alignment = 32;    // used for the layout; state it with U32("general.alignment", ...)

  // Metadata.
  GgufWriter& Raw(const std::string& key, uint32_t value_type, const std::string& value) {
    metadata_.PutString(key).Put(value_type).PutRaw(value);
    ++pairs_;
    return *this;
  }
  GgufWriter& U16(const std::string& key, uint16_t v) { return Scalar(key, 2, v); }
  GgufWriter& U32(const std::string& key, uint32_t v) { return Scalar(key, 4, v); }
  GgufWriter& I32(const std::string& key, int32_t v) { return Scalar(key, 5, v); }
  GgufWriter& F32(const std::string& key, float v) { return Scalar(key, 6, v); }
  GgufWriter& Bool(const std::string& key, bool v) { return Scalar(key, 7, uint8_t{v}); }
  GgufWriter& String(const std::string& key, const std::string& v) {
    return Raw(key, 8, Bytes().PutString(v).str());
  }
  GgufWriter& I32s(const std::string& key, const std::vector<int32_t>& values) {
    Bytes bytes;
    bytes.Put<uint32_t>(5).Put<uint64_t>(values.size());
    for (const int32_t v : values) bytes.Put(v);
    return Raw(key, 9, bytes.str());
  }
  GgufWriter& F32s(const std::string& key, const std::vector<float>& values) {
    Bytes bytes;
    bytes.Put<uint32_t>(6).Put<uint64_t>(values.size());
    for (const float v : values) bytes.Put(v);
    return Raw(key, 9, bytes.str());
  }
  GgufWriter& Bools(const std::string& key, const std::vector<bool>& values) {
    Bytes bytes;
    bytes.Put<uint32_t>(7).Put<uint64_t>(values.size());
    for (const bool v : values) bytes.Put<uint8_t>(v);
    return Raw(key, 9, bytes.str());
  }
  GgufWriter& StringList(const std::string& key, const std::vector<std::string>& values) {
    Bytes bytes;
    bytes.Put<uint32_t>(8).Put<uint64_t>(values.size());
    for (const std::string& v : values) bytes.PutString(v);
    return Raw(key, 9, bytes.str());
  }

  // A tensor of `bytes` (zeros up to the next alignment follow), laid out in the order of the
  // calls.
  GgufWriter& Tensor(const std::string& name, Type type, const std::vector<uint64_t>& dims,
                     const std::string& bytes) {
    RawTensor(name, static_cast<uint32_t>(type), dims, data_.size());
    data_ += bytes;
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  // A tensor of zeros.
  GgufWriter& Zeros(const std::string& name, Type type, const std::vector<uint64_t>& dims) {
    uint64_t elements = 1;
    for (const uint64_t dim : dims) elements *= dim;
    const uint64_t blocks = elements / static_cast<uint64_t>(Info(type).block_elements);
    return Tensor(name, type, dims,
                  std::string(blocks * static_cast<uint64_t>(Info(type).block_bytes), '\0'));
  }
  // A row of the tensor table as it stands, without data.
  GgufWriter& RawTensor(const std::string& name, uint32_t type, const std::vector<uint64_t>& dims,
                        uint64_t offset) {
    table_.PutString(name).Put<uint32_t>(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) table_.Put(dim);
    table_.Put(type).Put(offset);
    ++tensors_;
    return *this;
  }

  std::string Build() const {
    Bytes out;
    out.PutRaw(magic).Put(version);
    out.Put<uint64_t>(static_cast<uint64_t>(tensors_ + extra_tensors));
    out.Put<uint64_t>(static_cast<uint64_t>(pairs_ + extra_pairs));
    std::string bytes = out.str() + metadata_.str() + table_.str();
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    return bytes + data_;
  }

 private:
  template <class T>
  GgufWriter& Scalar(const std::string& key, uint32_t type, T value) {
    return Raw(key, type, Bytes().Put(value).str());
  }

  Bytes metadata_;
  Bytes table_;
  std::string data_;
  int64_t pairs_ = 0;
  int64_t tensors_ = 0;
};

inline void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<int64_t>(bytes.size()));
}

}  // namespace softsplice::gguf
