#include "decoder_svc/text/output.h"

#include <algorithm>
#include <utility>

#include "common/text/utf8.h"

namespace softsplice {
namespace {

// Tokens without text wait for text so long: a model that writes nothing else is heard all the
// same.
constexpr size_t kMaxSilentTokens = 64;
constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

StopMatcher::StopMatcher(std::string text) : text_(std::move(text)), fallback_(text_.size()) {
  for (size_t i = 1, n = 0; i < text_.size(); ++i) {
    while (n > 0 && text_[i] != text_[n]) n = fallback_[n - 1];
    if (text_[i] == text_[n]) ++n;
    fallback_[i] = n;
  }
}

bool StopMatcher::Push(char c) {
  while (matched_ > 0 && text_[matched_] != c) matched_ = fallback_[matched_ - 1];
  if (text_[matched_] == c) ++matched_;
  return matched_ == text_.size();
}

OutputStream::OutputStream(const Tokenizer& tokenizer, const std::vector<std::string>& stop)
    : tokenizer_(tokenizer),
      channel_begin_(tokenizer.Find("<|channel>")),
      channel_end_(tokenizer.Find("<channel|>")) {
  for (const std::string& text : stop) {
    if (!text.empty()) stops_.emplace_back(text);
  }
}

std::vector<OutputDelta> OutputStream::Push(int32_t token) {
  std::vector<OutputDelta> deltas;
  if (stopped_) return deltas;
  const bool begins = token == channel_begin_ && token >= 0;
  const bool ends = token == channel_end_ && token >= 0;
  if (begins || channel_ == OutputChannel::kThought) ++thought_tokens_;
  if (begins) {
    EndChannel(OutputChannel::kThought, &deltas);
    if (stopped_) return deltas;
    in_name_ = true;
  }
  const bool control = tokenizer_.IsControl(token);
  if (!control) {
    const absl::string_view bytes = tokenizer_.Bytes(token);
    bytes_.append(bytes.data(), bytes.size());
  }
  // A control token is no part of a character: what stands before it can't be completed.
  Decode(control);
  if (stopped_) {
    Show(true, &deltas);
    return deltas;
  }
  undecoded_tokens_.push_back(token);
  if (bytes_.empty()) MarkDecoded();
  if (ends) {
    EndChannel(OutputChannel::kAnswer, &deltas);
  } else {
    Show(false, &deltas);
  }
  return deltas;
}

std::vector<OutputDelta> OutputStream::Finish() {
  std::vector<OutputDelta> deltas;
  if (!stopped_) EndChannel(OutputChannel::kAnswer, &deltas);
  return deltas;
}

void OutputStream::Decode(bool final) {
  absl::string_view rest = bytes_;
  if (in_name_) {
    const size_t newline = rest.find('\n');
    if (newline != absl::string_view::npos) in_name_ = false;
    rest.remove_prefix(in_name_ ? rest.size() : newline + 1);
  }
  while (!rest.empty() && !stopped_) {
    const Utf8Char c = NextUtf8(rest);
    if (c.state == Utf8::kIncomplete && !final) break;
    AddText(c.state == Utf8::kValid ? rest.substr(0, c.bytes) : kReplacement);
    rest.remove_prefix(c.bytes);
  }
  bytes_ = std::string(rest);
}

void OutputStream::AddText(absl::string_view text) {
  text_.append(text.data(), text.size());
  if (channel_ != OutputChannel::kAnswer) return;
  for (size_t i = 0; i < text.size(); ++i) {
    const StopMatcher* met = nullptr;
    for (StopMatcher& stop : stops_) {
      if (stop.Push(text[i]) && (met == nullptr || stop.text().size() > met->text().size())) {
        met = &stop;
      }
    }
    if (met == nullptr) continue;
    stopped_ = true;
    stop_string_ = met->text();
    text_.resize(text_.size() - (text.size() - i - 1) - stop_string_.size());
    return;
  }
}

void OutputStream::MarkDecoded() {
  for (const int32_t id : undecoded_tokens_) tokens_.push_back({id, shown_ + text_.size()});
  undecoded_tokens_.clear();
}

void OutputStream::Show(bool final, std::vector<OutputDelta>* deltas) {
  size_t held = 0;
  if (!final) {
    for (const StopMatcher& stop : stops_) held = std::max(held, stop.matched());
  }
  OutputDelta delta{channel_, text_.substr(0, text_.size() - held), {}};
  text_.erase(0, delta.text.size());
  shown_ += delta.text.size();
  if (delta.text.empty() && !final && tokens_.size() < kMaxSilentTokens) return;
  while (!tokens_.empty() && tokens_.front().end <= shown_) {
    delta.tokens.push_back(tokens_.front().id);
    tokens_.pop_front();
  }
  if (!delta.text.empty() || !delta.tokens.empty()) deltas->push_back(std::move(delta));
}

void OutputStream::EndChannel(OutputChannel next, std::vector<OutputDelta>* deltas) {
  Decode(true);
  if (!stopped_) MarkDecoded();
  Show(true, deltas);
  for (StopMatcher& stop : stops_) stop.Reset();
  channel_ = next;
  in_name_ = false;
}

}  // namespace softsplice
