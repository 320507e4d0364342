// Turns an answer's tokens into text, channel by channel: whole UTF-8 characters only, thought and
// answer told apart, stop strings found, however the tokens fall.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
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

// Finds one stop string in a text that comes bit by bit (Knuth, Morris and Pratt).
class StopMatcher {
 public:
  explicit StopMatcher(std::string text);

  // Whether the text so far ends in the stop string, now that `c` was added.
  bool Push(char c);
  // How much of the end of the text so far may yet become the stop string.
  size_t matched() const { return matched_; }
  void Reset() { matched_ = 0; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::vector<size_t> fallback_;  // fallback_[n]: what n + 1 matched characters fall back to
  size_t matched_ = 0;
};

// One per answer; not thread-safe. Control tokens are never shown, nor is a channel's name; every
// token is in one delta's `tokens` all the same, in order, up to a stop string.
class OutputStream {
 public:
  // `tokenizer` must outlive it. The answer ends before any of `stop` (empty strings are ignored),
  // looked for in the answer channel only: the one that is complete first, the longest of several.
  OutputStream(const Tokenizer& tokenizer, const std::vector<std::string>& stop);

  // Takes the next token, returns what can be shown now (often one delta, none while a character, a
  // channel marker or a possible stop string is incomplete).
  std::vector<OutputDelta> Push(int32_t token);
  // The end of the answer: what was held back. Bytes that never became a character come out as
  // U+FFFD.
  std::vector<OutputDelta> Finish();

  // Set once a stop string was met; nothing is shown after it.
  bool stopped() const { return stopped_; }
  const std::string& stop_string() const { return stop_string_; }
  // Tokens of thought channels, their markers and names included.
  int thought_tokens() const { return thought_tokens_; }

 private:
  // A token whose text is not all shown: it is once `end` bytes of the channel's text are.
  struct PendingToken {
    int32_t id;
    size_t end;
  };

  // Moves whole characters from bytes_ to text_; all of it if `final`. Leaves off at a stop string.
  void Decode(bool final);
  void AddText(absl::string_view text);
  // All bytes are decoded: the tokens they came from end where the text does now.
  void MarkDecoded();
  // Appends a delta with what may be shown; all there is if `final`.
  void Show(bool final, std::vector<OutputDelta>* deltas);
  void EndChannel(OutputChannel next, std::vector<OutputDelta>* deltas);

  const Tokenizer& tokenizer_;
  const int32_t channel_begin_;
  const int32_t channel_end_;
  std::vector<StopMatcher> stops_;
  std::string stop_string_;
  bool stopped_ = false;
  int thought_tokens_ = 0;

  OutputChannel channel_ = OutputChannel::kAnswer;
  bool in_name_ = false;                   // between <|channel> and the end of the name's line
  std::string bytes_;                      // not yet whole characters
  std::string text_;                       // held back
  size_t shown_ = 0;                       // bytes of the channel's text before text_
  std::vector<int32_t> undecoded_tokens_;  // end within bytes_
  std::deque<PendingToken> tokens_;
};

}  // namespace softsplice
