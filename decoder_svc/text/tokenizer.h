// The "gemma4" tokenizer: BPE over the vocabulary in the text GGUF, with byte fallback.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/gguf/file.h"

namespace softsplice {

// A stretch of text, and whether the control tokens that it spells are read as such.
struct TextRun {
  std::string text;
  bool parse_special = false;
};

// Thread-safe once made. Control tokens are those that the vocabulary calls so and all that
// structure a prompt (turns, channels, tools, media, quotes: "<|x>", "<x|>", "<|x|>"), whatever
// type the vocabulary gives them. Other user-defined tokens are found in all text.
class Tokenizer {
 public:
  // FAILED_PRECONDITION: not a "gemma4" vocabulary, or an inconsistent one.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);
  virtual ~Tokenizer() = default;

  // Token ids of the runs' text as a whole (any bytes; invalid UTF-8 goes through byte fallback),
  // no <bos> added: a token may span runs, but a control token is only found within a run that
  // allows it.
  virtual std::vector<int32_t> Encode(absl::Span<const TextRun> runs) const = 0;
  std::vector<int32_t> Encode(absl::string_view text, bool parse_special) const {
    const TextRun run{std::string(text), parse_special};
    return Encode(absl::MakeConstSpan(&run, 1));
  }

  // The bytes that a token stands for in an answer: possibly part of a character; a control token's
  // spelling. Empty if there is no such id.
  virtual absl::string_view Bytes(int32_t id) const = 0;
  virtual bool IsControl(int32_t id) const = 0;

  virtual int size() const = 0;
  // Bytes of the longest token: a text of n bytes has at least n / longest tokens.
  virtual int longest() const = 0;
  // The id of the token spelled `token`; -1 if there is none.
  virtual int32_t Find(absl::string_view token) const = 0;

  virtual int32_t bos() const = 0;
  // Ids that end a turn: what the GGUF names (eos, eot, eom) plus <eos>, <turn|> and
  // <|tool_response>, those that exist.
  virtual std::vector<int32_t> StopTokens() const = 0;
  // Ids that are never sampled: the closing media markers, those that exist.
  virtual std::vector<int32_t> BannedTokens() const = 0;
  // Ids that stand for a medium's rows in text: <|image|> and the like, those that exist.
  virtual std::vector<int32_t> PlaceholderTokens() const = 0;
};

}  // namespace softsplice
