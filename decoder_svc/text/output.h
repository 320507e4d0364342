// Turns an answer's tokens into text, channel by channel: whole UTF-8 characters only, thought and
// answer told apart, stop strings found, however the tokens fall.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "decoder_svc/text/tokenizer.h"

namespace softsplice {

enum class OutputChannel : uint8_t { kAnswer, kThought };

// Text of one channel that is ready to be shown, with the tokens it came from (those whose text is
// all shown now).
struct OutputDelta {
  OutputChannel channel = OutputChannel::kAnswer;
  std::string text;
  std::vector<int32_t> tokens;
};

// One per answer; not thread-safe.
class OutputStream {
 public:
  // `tokenizer` must outlive it. The answer ends before any of `stop` (non-empty strings), looked
  // for in the answer channel only.
  OutputStream(const Tokenizer& tokenizer, std::vector<std::string> stop);

  // Takes the next token, returns what can be shown now (often one delta, none while a character, a
  // channel marker or a possible stop string is incomplete).
  std::vector<OutputDelta> Push(int32_t token);
  // The end of the answer: what was held back. Bytes that never became a character come out as
  // U+FFFD.
  std::vector<OutputDelta> Finish();

  // Set once a stop string was met; nothing is shown after it.
  bool stopped() const { return stopped_; }
  const std::string& stop_string() const { return stop_string_; }
  int thought_tokens() const { return thought_tokens_; }

 private:
  const Tokenizer& tokenizer_;
  std::vector<std::string> stop_;
  std::string stop_string_;
  bool stopped_ = false;
  int thought_tokens_ = 0;
};

}  // namespace softsplice
