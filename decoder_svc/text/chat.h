// Renders conversations as the model was trained to read them (the GGUF's own Jinja template, in
// C++).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "decoder_svc/text/tokenizer.h"

namespace softsplice {

enum class Role : uint8_t { kSystem, kUser, kModel };

enum class MediaKind : uint8_t { kImage, kAudio };

// The n-th medium of a request goes here.
struct MediaRef {
  MediaKind kind = MediaKind::kImage;
  int index = 0;
};

struct ChatMessage {
  Role role = Role::kUser;
  std::vector<std::variant<std::string, MediaRef>> parts;
};

struct ChatOptions {
  bool thinking = false;
  bool add_generation_prompt = true;
};

// A prompt between text and tokens: token ids and the places of media, in order. The markers around
// a medium are tokens already (begin before, end after its place).
using PromptPiece = std::variant<std::vector<int32_t>, MediaRef>;

class ChatTemplate {
 public:
  // `source` is the GGUF's tokenizer.chat_template (may be empty). Recognises E4B's template and
  // the larger models' (which opens an empty thought channel when thinking is off); anything else
  // is rendered as E4B's, and known() is false so that the caller can warn.
  ChatTemplate(const Tokenizer& tokenizer, absl::string_view source);

  bool known() const { return known_; }
  // For people: "gemma4 e4b", "gemma4 large", "unknown (rendered as gemma4 e4b)".
  absl::string_view name() const;

  // INVALID_ARGUMENT with the field path ("messages[2].role"): a system message that is not first,
  // no messages, empty parts. What looks like a control token in a text part is text.
  absl::StatusOr<std::vector<PromptPiece>> Render(const std::vector<ChatMessage>& messages,
                                                  const ChatOptions& options) const;

 private:
  const Tokenizer& tokenizer_;
  bool known_ = false;
  bool empty_thought_ = false;
};

// The text that `pieces` stand for, media as "<|image> … <image|>" is left to the caller: `media`
// spells each place.
std::string Spell(const Tokenizer& tokenizer, const std::vector<PromptPiece>& pieces,
                  const std::vector<std::string>& media);

}  // namespace softsplice
