#include "decoder_svc/text/chat.h"

#include <initializer_list>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/hash/sha256.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "common/text/utf8.h"

namespace softsplice {
namespace {

// SHA-256 of the templates that we know, without the empty thought block and the white space
// around.
constexpr absl::string_view kJulyHash =
    "74a88f94c57c14e22dcdbe08e94127f42b87c6f584cb73838e73e32126f3f6b3";
constexpr absl::string_view kAprilHash =
    "781d10940fbc44be40064b5d43a056fc486c84ceaa55538226368b57314132bf";
constexpr absl::string_view kFirstReleaseHash =
    "55572b8d3c8342044e25874c73fe5234b661fa0a57a57f6ef75b58e03d7d959a";

// The larger models' template has this block in its generation prompt, and is E4B's without it.
constexpr absl::string_view kBlockBegin = "{%- if not enable_thinking | default(false) -%}";
constexpr absl::string_view kBlockBody = "{{- '<|channel>thought\\n<channel|>' -}}";
constexpr absl::string_view kBlockEnd = "{%- endif -%}";

std::string WithoutEmptyThought(absl::string_view source) {
  source = absl::StripAsciiWhitespace(source);
  const size_t begin = source.rfind(kBlockBegin);
  if (begin == absl::string_view::npos) return std::string(source);
  absl::string_view rest = source.substr(begin + kBlockBegin.size());
  for (const absl::string_view token : {kBlockBody, kBlockEnd}) {
    rest = absl::StripLeadingAsciiWhitespace(rest);
    if (!absl::ConsumePrefix(&rest, token)) return std::string(source);
  }
  return absl::StrCat(absl::StripTrailingAsciiWhitespace(source.substr(0, begin)), rest);
}

// Whether the part of `source` that writes the generation prompt opens an empty thought.
bool OpensEmptyThought(absl::string_view source) {
  const size_t prompt = source.rfind("if add_generation_prompt");
  return prompt != absl::string_view::npos &&
         absl::StrContains(source.substr(prompt), "<|channel>thought\\n<channel|>");
}

// What earlier turns thought is not shown to the model again: everything from <|channel> to
// <channel|> goes (the template's strip_thinking).
std::string StripThinking(absl::string_view text) {
  constexpr absl::string_view kOpen = "<|channel>";
  constexpr absl::string_view kClose = "<channel|>";
  std::string kept;
  while (true) {
    const size_t close = text.find(kClose);
    const absl::string_view part = text.substr(0, close);
    absl::StrAppend(&kept, part.substr(0, part.find(kOpen)));
    if (close == absl::string_view::npos) break;
    text.remove_prefix(close + kClose.size());
  }
  return std::string(StripUnicodeSpace(kept));
}

// Collects a prompt; text that touches becomes tokens as a whole.
class PieceBuilder {
 public:
  explicit PieceBuilder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // Text in which control tokens are control tokens: ours.
  void Control(absl::string_view text) { runs_.push_back({std::string(text), true}); }
  // Text that is only text: theirs.
  void Text(absl::string_view text) { runs_.push_back({std::string(text), false}); }
  void Run(const TextRun& run) { runs_.push_back(run); }
  void Id(int32_t id) {
    EndText();
    ids_.push_back(id);
  }
  // As the template has it, with `around` before and after it; the sound beside a video is an entry
  // of its own.
  void Media(const MediaRef& media, bool markers, absl::string_view around = "") {
    const bool video = media.kind == MediaKind::kVideo;
    Control(around);
    if (video) Control("00:00 ");
    if (markers) Control(MarkersOf(media.kind).begin);
    Place(media);
    if (markers) Control(MarkersOf(media.kind).end);
    Control(around);
    if (video) Place({.kind = media.kind, .index = media.index, .sound_beside = true});
  }

  std::vector<PromptPiece> Finish() {
    EndIds();
    return std::move(pieces_);
  }

 private:
  void Place(const MediaRef& media) {
    EndIds();
    pieces_.emplace_back(media);
  }
  void EndText() {
    const std::vector<int32_t> ids = tokenizer_.Encode(runs_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    runs_.clear();
  }
  void EndIds() {
    EndText();
    if (!ids_.empty()) pieces_.emplace_back(std::exchange(ids_, {}));
  }

  const Tokenizer& tokenizer_;
  std::vector<PromptPiece> pieces_;
  std::vector<int32_t> ids_;
  std::vector<TextRun> runs_;  // not yet in ids_
};

absl::Status Require(const Tokenizer& tokenizer, std::initializer_list<absl::string_view> tokens) {
  for (const absl::string_view token : tokens) {
    if (tokenizer.Find(token) >= 0) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the model's vocabulary has no token ", token),
                     {.reason = reason::kMissingToken});
  }
  return absl::OkStatus();
}

absl::Status CheckMessages(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages) {
  if (messages.empty())
    return InvalidField("messages", "messages is empty; at least one is needed");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string field = absl::StrCat("messages[", i, "]");
    if (messages[i].role == Role::kSystem && i > 0) {
      return InvalidField(field + ".role",
                          field + ".role is system; only the first message may be");
    }
    if (messages[i].parts.empty()) {
      return InvalidField(field + ".parts", field + ".parts is empty; at least one is needed");
    }
    for (const auto& part : messages[i].parts) {
      const auto* media = std::get_if<MediaRef>(&part);
      if (media != nullptr) RETURN_IF_ERROR(RequireMarkers(tokenizer, media->kind));
    }
  }
  return absl::OkStatus();
}

}  // namespace

MediaMarkers MarkersOf(MediaKind kind) {
  return kind == MediaKind::kAudio ? MediaMarkers{"<|audio>", "<audio|>"}
                                   : MediaMarkers{"<|image>", "<image|>"};
}

absl::Status RequireMarkers(const Tokenizer& tokenizer, MediaKind kind) {
  const MediaMarkers markers = MarkersOf(kind);
  RETURN_IF_ERROR(Require(tokenizer, {markers.begin, markers.end}));
  return kind == MediaKind::kVideo ? RequireMarkers(tokenizer, MediaKind::kAudio)
                                   : absl::OkStatus();
}

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, absl::string_view source)
    : tokenizer_(tokenizer) {
  const std::string hash = Sha256Hex(WithoutEmptyThought(source));
  known_ = hash == kJulyHash || hash == kAprilHash || hash == kFirstReleaseHash;
  empty_thought_ = OpensEmptyThought(source);
  // A template that says nothing of turns is not one of this family: take the current one.
  if (absl::StrContains(source, "<|turn>")) {
    think_newline_ = absl::StrContains(source, "'<|think|>\\n'");
    join_model_turns_ = absl::StrContains(source, "continue_same_model_turn");
    join_model_texts_ = absl::StrContains(source, "continues_into_next");
    space_system_parts_ = absl::StrContains(source, "item['text'] | trim + ' '");
    image_newlines_ = absl::StrContains(source, "'\\n\\n<|image|>\\n\\n'");
  }
  name_ = absl::StrCat("gemma4 ", empty_thought_ ? "large" : "e4b",
                       join_model_turns_ ? "" : " (first release)");
  if (!known_) name_ = absl::StrCat("unknown (rendered as ", name_, ")");
}

absl::StatusOr<std::vector<PromptPiece>> ChatTemplate::Render(
    const std::vector<ChatMessage>& messages, const ChatOptions& options) const {
  RETURN_IF_ERROR(CheckMessages(tokenizer_, messages));
  RETURN_IF_ERROR(Require(tokenizer_, {"<|turn>", "<turn|>"}));
  if (options.thinking) RETURN_IF_ERROR(Require(tokenizer_, {"<|think|>"}));
  if (empty_thought_) RETURN_IF_ERROR(Require(tokenizer_, {"<|channel>", "<channel|>"}));

  PieceBuilder prompt(tokenizer_);
  prompt.Id(tokenizer_.bos());
  const bool system = messages[0].role == Role::kSystem;
  if (options.thinking || system) {
    prompt.Control("<|turn>system\n");
    if (options.thinking) prompt.Control(think_newline_ ? "<|think|>\n" : "<|think|>");
    if (!system) prompt.Control("<turn|>\n");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool model = messages[i].role == Role::kModel;
    const auto is_model = [&](size_t k) {
      return k < messages.size() && messages[k].role == Role::kModel;
    };
    const bool goes_on = join_model_turns_ && model && is_model(i - 1);
    if (!goes_on && messages[i].role != Role::kSystem) {
      prompt.Control(model ? "<|turn>model\n" : "<|turn>user\n");
    }
    // One part is the text that most clients send; only lists have spaces.
    const bool spaced =
        space_system_parts_ && messages[i].role == Role::kSystem && messages[i].parts.size() > 1;
    for (const auto& part : messages[i].parts) {
      if (const auto* text = std::get_if<std::string>(&part)) {
        prompt.Text(model ? StripThinking(*text) : std::string(StripUnicodeSpace(*text)));
        if (spaced) prompt.Text(" ");
        continue;
      }
      const MediaRef& media = std::get<MediaRef>(part);
      const bool newlines = image_newlines_ && media.kind != MediaKind::kAudio;
      prompt.Media(media, true, newlines ? "\n\n" : "");
    }
    if (!(join_model_texts_ && model && is_model(i + 1))) prompt.Control("<turn|>\n");
  }
  if (options.add_generation_prompt) {
    prompt.Control("<|turn>model\n");
    if (empty_thought_ && !options.thinking) prompt.Control("<|channel>thought\n<channel|>");
  }
  return prompt.Finish();
}

absl::StatusOr<std::vector<PromptPiece>> RenderRaw(const Tokenizer& tokenizer,
                                                   absl::Span<const RawPart> parts, bool bos) {
  if (parts.empty()) return InvalidField("parts", "parts is empty; at least one is needed");
  PieceBuilder prompt(tokenizer);
  if (bos) prompt.Id(tokenizer.bos());
  for (size_t i = 0; i < parts.size(); ++i) {
    if (const auto* run = std::get_if<TextRun>(&parts[i])) {
      prompt.Run(*run);
    } else if (const auto* list = std::get_if<RawIds>(&parts[i])) {
      for (size_t k = 0; k < list->ids.size(); ++k) {
        const int64_t id = list->ids[k];
        if (id < 0 || id >= tokenizer.size()) {
          const std::string field = absl::StrCat("parts[", i, "].token_ids.ids[", k, "]");
          return InvalidField(field, absl::StrCat(field, " is ", id, "; the vocabulary has ",
                                                  tokenizer.size(), " tokens"));
        }
        prompt.Id(static_cast<int32_t>(id));
      }
    } else {
      const RawMedia& raw = std::get<RawMedia>(parts[i]);
      if (raw.markers) RETURN_IF_ERROR(RequireMarkers(tokenizer, raw.media.kind));
      prompt.Media(raw.media, raw.markers);
    }
  }
  return prompt.Finish();
}

std::string Spell(const Tokenizer& tokenizer, const std::vector<PromptPiece>& pieces,
                  const std::vector<std::string>& media) {
  std::string text;
  size_t next = 0;
  for (const PromptPiece& piece : pieces) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&piece)) {
      for (const int32_t id : *ids) absl::StrAppend(&text, tokenizer.Bytes(id));
    } else if (next < media.size()) {
      text += media[next++];
    }
  }
  return text;
}

}  // namespace softsplice
