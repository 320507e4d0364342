// Vocabularies for tests: the real one, and small ones written as GGUF files on the spot.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/gguf/file.h"
#include "decoder_svc/text/tokenizer.h"
#include "tests/support/temp_folder.h"

namespace softsplice {

inline nlohmann::json ReadJson(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  return nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
}

// The real Gemma 4 vocabulary, read once.
inline const gguf::File& RealVocabFile() {
  static const auto* file = [] {
    auto opened = gguf::File::Open(SOFTSPLICE_TEST_VOCAB);
    if (!opened.ok()) ADD_FAILURE() << opened.status();
    return std::move(opened).value().release();
  }();
  return *file;
}

inline const Tokenizer& RealTokenizer() {
  static const auto* tokenizer = [] {
    auto made = Tokenizer::FromGguf(RealVocabFile());
    if (!made.ok()) ADD_FAILURE() << made.status();
    return std::move(made).value().release();
  }();
  return *tokenizer;
}

// A small vocabulary: <pad> <eos> <bos> <unk>, turn and channel tokens, all bytes, then what a test
// adds.
struct SmallVocab {
  SmallVocab() {
    for (const char* text : {"<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>"})
      Add(text, 3);
    for (const char* text : {"<|channel>", "<channel|>"}) Add(text, 4);
    for (int byte = 0; byte < 256; ++byte) {
      char text[8];
      snprintf(text, sizeof(text), "<0x%02X>", byte);
      Add(text, 6);
    }
  }
  int32_t Add(const std::string& text, int32_t type = 1) {
    tokens.push_back(text);
    types.push_back(type);
    return static_cast<int32_t>(tokens.size()) - 1;
  }

  std::string model = "gemma4";
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  std::vector<std::pair<std::string, uint32_t>> ids;  // "eos_token_id" and the like

  // Writes it to `path` as a GGUF v3 file without tensors.
  void Write(const std::string& path) const {
    std::string out = "GGUF";
    const auto u32 = [&](uint32_t v) { out.append(reinterpret_cast<const char*>(&v), 4); };
    const auto u64 = [&](uint64_t v) { out.append(reinterpret_cast<const char*>(&v), 8); };
    const auto text = [&](const std::string& v) { u64(v.size()), out += v; };
    const auto strings = [&](const std::string& key, const std::vector<std::string>& values) {
      text(key), u32(9), u32(8), u64(values.size());
      for (const std::string& value : values) text(value);
    };
    u32(3), u64(0), u64(5 + ids.size());
    text("general.architecture"), u32(8), text("gemma4");
    text("tokenizer.ggml.model"), u32(8), text(model);
    strings("tokenizer.ggml.tokens", tokens);
    strings("tokenizer.ggml.merges", merges);
    text("tokenizer.ggml.token_type"), u32(9), u32(5), u64(types.size());
    for (const int32_t type : types) u32(static_cast<uint32_t>(type));
    for (const auto& [key, id] : ids) text("tokenizer.ggml." + key), u32(4), u32(id);
    std::ofstream(path, std::ios::binary) << out;
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> Load() const {
    const TempFolder folder;
    const std::string path = folder / "small-vocab.gguf";
    Write(path);
    auto file = gguf::File::Open(path);
    if (!file.ok()) return file.status();
    return Tokenizer::FromGguf(**file);
  }
};

}  // namespace softsplice
