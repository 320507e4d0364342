// Renders conversations as the model was trained to read them (the GGUF's own Jinja template, in
// C++).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "decoder_svc/text/tokenizer.h"

namespace softsplice {

enum class Role : uint8_t { kSystem, kUser, kModel };

enum class MediaKind : uint8_t { kImage, kAudio, kVideo };

// The n-th medium of a request goes here.
struct MediaRef {
  MediaKind kind = MediaKind::kImage;
  int index = 0;
  bool sound_beside = false;  // of a video: its sound, else its frames
};

// The tokens before and after a medium's rows; a video's are those of each frame.
struct MediaMarkers {
  absl::string_view begin;
  absl::string_view end;
};
MediaMarkers MarkersOf(MediaKind kind);
// FAILED_PRECONDITION: the vocabulary lacks one.
absl::Status RequireMarkers(const Tokenizer& tokenizer, MediaKind kind);

struct ChatMessage {
  Role role = Role::kUser;
  std::vector<std::variant<std::string, MediaRef>> parts;
};

struct ChatOptions {
  bool thinking = false;
  bool add_generation_prompt = true;
};

// A prompt between text and tokens: token ids and the places of media, in order. The markers around
// a medium are tokens already (begin before, end after its place), and the time of a video's first
// frame. A video has two places, its sound's being behind that of its frames; the markers of a
// sound that may not be there are still to come.
using PromptPiece = std::variant<std::vector<int32_t>, MediaRef>;

class ChatTemplate {
 public:
  // `source` is the GGUF's tokenizer.chat_template (may be empty); `tokenizer` must outlive this.
  // Recognises E4B's template and the larger models' (which opens an empty thought channel when
  // thinking is off), as of July 2026, of April, and as first released. Anything else is rendered
  // as whichever of them its text looks most like, and known() is false so that the caller can
  // warn.
  ChatTemplate(const Tokenizer& tokenizer, absl::string_view source);

  bool known() const { return known_; }
  // For people: "gemma4 e4b", "gemma4 large", "unknown (rendered as gemma4 e4b)".
  absl::string_view name() const { return name_; }

  // INVALID_ARGUMENT with the field path ("messages[2].role"): a system message that is not first,
  // no messages, empty parts. FAILED_PRECONDITION: the vocabulary lacks a token that is needed.
  // What looks like a control token in a text part is text.
  absl::StatusOr<std::vector<PromptPiece>> Render(const std::vector<ChatMessage>& messages,
                                                  const ChatOptions& options) const;

 private:
  const Tokenizer& tokenizer_;
  std::string name_;
  bool known_ = false;
  // What sets the templates apart.
  bool empty_thought_ = false;      // after <|turn>model when thinking is off
  bool think_newline_ = true;       // after <|think|>
  bool join_model_turns_ = true;    // model messages in a row share one <|turn>model
  bool join_model_texts_ = true;    // and one <turn|>: their texts touch
  bool space_system_parts_ = true;  // one behind each of several texts
  bool image_newlines_ = false;     // two around an image or a video
};

// A raw prompt's parts: text, ids, and media with or without the markers around them.
struct RawIds {
  std::vector<int64_t> ids;
};
struct RawMedia {
  MediaRef media;
  bool markers = true;
};
using RawPart = std::variant<TextRun, RawIds, RawMedia>;

// The parts as they stand, after <bos> if `bos`. Adjacent texts are tokenised as one. Errors:
// INVALID_ARGUMENT with the field ("parts[1].token_ids.ids[3]"): an id outside the vocabulary;
// "parts": there are none; FAILED_PRECONDITION: the vocabulary lacks a media marker.
absl::StatusOr<std::vector<PromptPiece>> RenderRaw(const Tokenizer& tokenizer,
                                                   absl::Span<const RawPart> parts, bool bos);

// The text that `pieces` stand for; media[i] spells the rows of the i-th medium (the markers around
// it are tokens of the pieces). Bytes that are not UTF-8 are kept.
std::string Spell(const Tokenizer& tokenizer, const std::vector<PromptPiece>& pieces,
                  const std::vector<std::string>& media);

}  // namespace softsplice
