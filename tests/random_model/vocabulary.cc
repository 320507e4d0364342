// Vocabularies of random models.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/gguf/file.h"
#include "common/status/macros.h"
#include "tests/random_model/model.h"

namespace softsplice::random_model {
namespace {

constexpr int32_t kNormal = 1, kControl = 3, kByte = 6;  // llama.cpp's token types

// Writes a value as our reader has widened it; what no vocabulary has is left out.
struct Put {
  gguf::GgufWriter& out;
  const std::string& key;

  void operator()(const std::string& value) const { out.String(key, value); }
  void operator()(const gguf::Strings& value) const { out.StringList(key, value); }
  void operator()(bool value) const { out.Bool(key, value); }
  void operator()(uint64_t value) const { out.U32(key, static_cast<uint32_t>(value)); }
  void operator()(int64_t value) const { out.I32(key, static_cast<int32_t>(value)); }
  void operator()(const std::vector<int64_t>& value) const {
    out.I32s(key, {value.begin(), value.end()});
  }
  template <class Other>
  void operator()(const Other&) const {}
};

}  // namespace

absl::StatusOr<Vocabulary> VocabularyOf(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, gguf::File::Open(path));
  ASSIGN_OR_RETURN(const gguf::Strings* tokens, file->StringList("tokenizer.ggml.tokens"));
  Vocabulary vocabulary{{}, static_cast<int>(tokens->size())};
  for (const auto& [key, value] : file->metadata()) {
    if (absl::StartsWith(key, "tokenizer.")) {
      std::visit(Put{vocabulary.metadata, key}, value);
    }
  }
  return vocabulary;
}

gguf::GgufWriter MadeUpVocabulary(int tokens) {
  gguf::Strings spellings = {"<pad>",    "<eos>",     "<bos>",    "<unk>",     "<mask>",
                             "<|turn>",  "<turn|>",   "<|image>", "<|image|>", "<image|>",
                             "<|audio>", "<|audio|>", "<audio|>"};
  std::vector<int32_t> types(spellings.size(), kControl);
  for (int byte = 0; byte < 256; ++byte) {
    spellings.push_back(absl::StrFormat("<0x%02X>", byte));
    types.push_back(kByte);
  }
  while (static_cast<int>(spellings.size()) < tokens) {
    spellings.push_back(absl::StrCat("word", spellings.size()));
    types.push_back(kNormal);
  }
  gguf::GgufWriter out;
  out.String("tokenizer.ggml.model", "gemma4").StringList("tokenizer.ggml.tokens", spellings);
  out.I32s("tokenizer.ggml.token_type", types).StringList("tokenizer.ggml.merges", {});
  out.U32("tokenizer.ggml.padding_token_id", 0).U32("tokenizer.ggml.eos_token_id", 1);
  out.U32("tokenizer.ggml.bos_token_id", 2).U32("tokenizer.ggml.unknown_token_id", 3);
  return out;
}

}  // namespace softsplice::random_model
