#include "decoder_svc/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "decoder_svc/text/bpe.h"

namespace softsplice {
namespace {

// llama.cpp's token types, as GGUF stores them.
constexpr int64_t kTypeControl = 3;
constexpr int64_t kTypeUserDefined = 4;

constexpr absl::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr std::array<absl::string_view, 5> kPlainControls = {"<pad>", "<eos>", "<bos>", "<unk>",
                                                             "<mask>"};

// Whether a token is spelled like those that structure a prompt.
bool IsMarker(absl::string_view text) {
  if (text.size() < 4 || text.front() != '<' || text.back() != '>') return false;
  return text[1] == '|' || text[text.size() - 2] == '|';
}

std::string ForPeople(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text), "\"");
}

// Strings one behind the other: a vocabulary is too many of them to allocate each.
class StringPool {
 public:
  void Add(absl::string_view text) {
    text_.append(text.data(), text.size());
    ends_.push_back(text_.size());
    longest_ = std::max(longest_, text.size());
  }
  absl::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return absl::string_view(text_).substr(begin, ends_[i] - begin);
  }
  size_t size() const { return ends_.size(); }
  size_t longest() const { return longest_; }

 private:
  std::string text_;
  std::vector<size_t> ends_;
  size_t longest_ = 0;
};

// Finds given strings in a text: the leftmost first, the longest where several start.
class Finder {
 public:
  struct Match {
    size_t begin = absl::string_view::npos;
    size_t end = absl::string_view::npos;
    int32_t id = -1;
  };

  void Add(absl::string_view text, int32_t id) {
    if (text.empty()) return;
    auto& bucket = by_first_[static_cast<uint8_t>(text[0])];
    const auto longer = [](const Entry& a, const Entry& b) {
      return a.text.size() > b.text.size();
    };
    const Entry entry{text, id};
    bucket.insert(std::upper_bound(bucket.begin(), bucket.end(), entry, longer), entry);
  }

  // id -1 if there is none from `from` on.
  Match Find(absl::string_view text, size_t from) const {
    for (size_t at = from; at < text.size(); ++at) {
      for (const Entry& entry : by_first_[static_cast<uint8_t>(text[at])]) {
        if (absl::StartsWith(text.substr(at), entry.text)) {
          return {at, at + entry.text.size(), entry.id};
        }
      }
    }
    return {};
  }

 private:
  struct Entry {
    absl::string_view text;
    int32_t id;
  };
  std::array<std::vector<Entry>, 256> by_first_;
};

class GemmaTokenizer : public Tokenizer {
 public:
  absl::Status Load(const gguf::File& file);

  std::vector<int32_t> Encode(absl::Span<const TextRun> runs) const override;
  absl::string_view Bytes(int32_t id) const override {
    return id >= 0 && id < size() ? bytes_[id] : absl::string_view();
  }
  bool IsControl(int32_t id) const override { return id >= 0 && id < size() && control_[id]; }
  int size() const override { return static_cast<int>(control_.size()); }
  int longest() const override { return static_cast<int>(bytes_.longest()); }
  int32_t Find(absl::string_view token) const override {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  int32_t bos() const override { return bos_; }
  std::vector<int32_t> StopTokens() const override { return stop_; }
  std::vector<int32_t> BannedTokens() const override { return Existing({"<image|>", "<audio|>"}); }
  std::vector<int32_t> PlaceholderTokens() const override {
    return Existing({"<|image|>", "<|audio|>", "<|video|>"});
  }

 private:
  absl::Status LoadTokens(const gguf::File& file);
  absl::Status LoadSpecialIds(const gguf::File& file);
  absl::Status LoadBytes(const gguf::File& file);
  absl::Status LoadMerges(const gguf::File& file);
  void MarkControls(const std::vector<int64_t>& types);
  void FillBytes();
  // The id under "tokenizer.ggml.`key`"; without that key, of the token `spelling`, or -1.
  absl::StatusOr<int32_t> NamedId(const gguf::File& file, absl::string_view key,
                                  absl::string_view spelling) const;
  std::vector<int32_t> Existing(std::initializer_list<absl::string_view> tokens) const;
  // Tokens of text without control tokens.
  void EncodePlain(absl::string_view text, std::vector<int32_t>* ids) const;

  StringPool spellings_;
  StringPool bytes_;
  absl::flat_hash_map<absl::string_view, int32_t> ids_;  // into spellings_
  std::vector<bool> control_;
  std::vector<bool> byte_;  // byte tokens and <unk>: their spelling is not their text
  Finder controls_;
  Finder user_defined_;
  Bpe bpe_;
  std::vector<int32_t> stop_;
  std::array<int32_t, 256> byte_ids_ = {};
  int32_t bos_ = -1;
  int32_t pad_ = -1;
  int32_t unknown_ = -1;
};

absl::Status GemmaTokenizer::Load(const gguf::File& file) {
  ASSIGN_OR_RETURN(const std::string model, file.String("tokenizer.ggml.model"));
  if (model != "gemma4") {
    return InvalidFile(file.path(), absl::StrCat("tokenizer.ggml.model is ", ForPeople(model),
                                                 "; only \"gemma4\" is supported"));
  }
  RETURN_IF_ERROR(LoadTokens(file));
  RETURN_IF_ERROR(LoadSpecialIds(file));
  RETURN_IF_ERROR(LoadBytes(file));
  ASSIGN_OR_RETURN(const std::vector<int64_t> types, file.Ints("tokenizer.ggml.token_type"));
  if (types.size() != spellings_.size()) {
    return InvalidFile(file.path(), absl::StrCat("tokenizer.ggml.token_type has ", types.size(),
                                                 " entries for ", spellings_.size(), " tokens"));
  }
  MarkControls(types);
  FillBytes();
  return LoadMerges(file);
}

absl::Status GemmaTokenizer::LoadTokens(const gguf::File& file) {
  ASSIGN_OR_RETURN(const gguf::Strings* tokens, file.StringList("tokenizer.ggml.tokens"));
  if (tokens->empty() || tokens->size() > size_t{1} << 24) {
    return InvalidFile(file.path(), absl::StrCat("tokenizer.ggml.tokens has ", tokens->size(),
                                                 " entries; 1 to 16777216 are supported"));
  }
  for (const std::string& token : *tokens) spellings_.Add(token);
  ids_.reserve(spellings_.size());
  // Of tokens spelled alike the last one counts, as in the references.
  for (size_t i = 0; i < spellings_.size(); ++i) ids_[spellings_[i]] = static_cast<int32_t>(i);
  for (const auto& [text, id] : ids_) bpe_.AddToken(text, id);
  return absl::OkStatus();
}

absl::StatusOr<int32_t> GemmaTokenizer::NamedId(const gguf::File& file, absl::string_view key,
                                                absl::string_view spelling) const {
  const std::string full = absl::StrCat("tokenizer.ggml.", key);
  if (!file.Has(full)) return Find(spelling);
  ASSIGN_OR_RETURN(const int64_t id, file.Int(full));
  if (id < 0 || id >= static_cast<int64_t>(spellings_.size())) {
    return InvalidFile(file.path(), absl::StrCat(full, " is ", id, "; the vocabulary has ",
                                                 spellings_.size(), " tokens"));
  }
  return static_cast<int32_t>(id);
}

absl::Status GemmaTokenizer::LoadSpecialIds(const gguf::File& file) {
  ASSIGN_OR_RETURN(bos_, NamedId(file, "bos_token_id", "<bos>"));
  ASSIGN_OR_RETURN(pad_, NamedId(file, "padding_token_id", "<pad>"));
  ASSIGN_OR_RETURN(unknown_, NamedId(file, "unknown_token_id", "<unk>"));
  if (bos_ < 0 || pad_ < 0) {
    return InvalidFile(file.path(), "the vocabulary has no <bos> or no <pad> token");
  }
  stop_ = Existing({"<eos>", "<turn|>", "<|tool_response>"});
  for (const absl::string_view key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    ASSIGN_OR_RETURN(const int32_t id, NamedId(file, key, ""));
    if (id >= 0) stop_.push_back(id);
  }
  std::sort(stop_.begin(), stop_.end());
  stop_.erase(std::unique(stop_.begin(), stop_.end()), stop_.end());
  return absl::OkStatus();
}

absl::Status GemmaTokenizer::LoadBytes(const gguf::File& file) {
  byte_.assign(spellings_.size(), false);
  int missing = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const int32_t id = Find(absl::StrFormat("<0x%02X>", byte));
    byte_ids_[byte] = id;
    bpe_.SetByte(static_cast<uint8_t>(byte), id);
    if (id >= 0) {
      byte_[id] = true;
    } else {
      ++missing;
    }
  }
  if (missing == 0) return absl::OkStatus();
  if (unknown_ < 0) {
    return InvalidFile(file.path(), absl::StrCat("the vocabulary has no token for ", missing,
                                                 " of the 256 bytes, and no <unk>"));
  }
  byte_[unknown_] = true;
  bpe_.SetUnknown(unknown_);
  bpe_.DisableCuts();  // unknown characters in a row become one token, across words
  return absl::OkStatus();
}

void GemmaTokenizer::MarkControls(const std::vector<int64_t>& types) {
  control_.assign(spellings_.size(), false);
  for (size_t i = 0; i < types.size(); ++i) {
    control_[i] = types[i] == kTypeControl || IsMarker(spellings_[i]);
  }
  for (const absl::string_view text : kPlainControls) {
    if (const int32_t id = Find(text); id >= 0) control_[id] = true;
  }
  control_[bos_] = control_[pad_] = true;
  for (const int32_t id : stop_) control_[id] = true;
  for (const auto& [text, id] : ids_) {
    if (control_[id]) {
      controls_.Add(text, id);
    } else if (types[id] == kTypeUserDefined) {
      user_defined_.Add(text, id);
    }
  }
}

void GemmaTokenizer::FillBytes() {
  std::vector<int> byte_of(spellings_.size(), -1);
  for (int byte = 0; byte < 256; ++byte) {
    if (byte_ids_[byte] >= 0) byte_of[byte_ids_[byte]] = byte;
  }
  for (size_t i = 0; i < spellings_.size(); ++i) {
    const absl::string_view text = spellings_[i];
    if (byte_of[i] >= 0) {
      const char byte = static_cast<char>(byte_of[i]);
      bytes_.Add(absl::string_view(&byte, 1));
    } else if (absl::StrContains(text, kSpaceMark)) {
      bytes_.Add(absl::StrReplaceAll(text, {{kSpaceMark, " "}}));
    } else {
      bytes_.Add(text);
    }
  }
}

absl::Status GemmaTokenizer::LoadMerges(const gguf::File& file) {
  ASSIGN_OR_RETURN(const gguf::Strings* merges, file.StringList("tokenizer.ggml.merges"));
  bpe_.Reserve(merges->size());
  // Merges come in the order of the tokens they make, several for each: mostly no need to look them
  // up.
  const bool unique = ids_.size() == spellings_.size();
  size_t guess = 0;
  std::string joined;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const absl::string_view merge = (*merges)[rank];
    const size_t space = merge.find(' ', 1);
    const auto bad = [&](absl::string_view why) {
      return InvalidFile(file.path(), absl::StrCat("tokenizer.ggml.merges[", rank, "] ",
                                                   ForPeople(merge), " ", why));
    };
    if (space == absl::string_view::npos) return bad("is not two tokens with a space between");
    const absl::string_view left = merge.substr(0, space);
    const absl::string_view right = merge.substr(space + 1);
    joined.assign(left.data(), left.size());
    joined.append(right.data(), right.size());
    const int32_t left_id = Find(left);
    const int32_t right_id = Find(right);
    if (unique && guess + 1 < spellings_.size() && spellings_[guess] != joined) ++guess;
    const bool guessed = unique && spellings_[guess] == joined;
    const int32_t id = guessed ? static_cast<int32_t>(guess) : Find(joined);
    if (left_id < 0 || right_id < 0) return bad("names a token that is not in the vocabulary");
    if (id < 0) return bad("makes a token that is not in the vocabulary");
    guess = static_cast<size_t>(id);
    // Text must never merge into a control token.
    if (control_[id]) continue;
    if (byte_[left_id] || byte_[right_id]) bpe_.DisableCuts();
    bpe_.AddMerge(left_id, left, right_id, right, {static_cast<uint32_t>(rank), id});
  }
  return absl::OkStatus();
}

std::vector<int32_t> GemmaTokenizer::Existing(
    std::initializer_list<absl::string_view> tokens) const {
  std::vector<int32_t> ids;
  for (const absl::string_view token : tokens) {
    if (const int32_t id = Find(token); id >= 0) ids.push_back(id);
  }
  return ids;
}

void GemmaTokenizer::EncodePlain(absl::string_view text, std::vector<int32_t>* ids) const {
  size_t done = 0;
  while (done < text.size()) {
    const Finder::Match match = user_defined_.Find(text, done);
    bpe_.Encode(text.substr(done, match.begin - done), ids);
    if (match.id < 0) return;
    ids->push_back(match.id);
    done = match.end;
  }
}

std::vector<int32_t> GemmaTokenizer::Encode(absl::Span<const TextRun> runs) const {
  std::vector<int32_t> ids;
  std::string plain;  // since the last control token
  for (const TextRun& run : runs) {
    const absl::string_view text = run.text;
    size_t done = 0;
    while (run.parse_special) {
      const Finder::Match match = controls_.Find(text, done);
      if (match.id < 0) break;
      absl::StrAppend(&plain, text.substr(done, match.begin - done));
      EncodePlain(plain, &ids);
      plain.clear();
      ids.push_back(match.id);
      done = match.end;
    }
    absl::StrAppend(&plain, text.substr(done));
  }
  EncodePlain(plain, &ids);
  return ids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const gguf::File& file) {
  auto tokenizer = std::make_unique<GemmaTokenizer>();
  RETURN_IF_ERROR(tokenizer->Load(file));
  return tokenizer;
}

}  // namespace softsplice
