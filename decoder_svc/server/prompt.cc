#include "decoder_svc/server/prompt.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/config/text_config.h"
#include "common/media/kind.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

absl::Status NotSupported(const std::string& field, absl::string_view message) {
  return MakeError(absl::StatusCode::kUnimplemented, message,
                   {.reason = reason::kNotSupported, .field = field});
}

MediaKind KindOfMedium(ContentKind kind) {
  switch (kind) {
    case ContentKind::kSound:
      return MediaKind::kAudio;
    case ContentKind::kVideo:
      return MediaKind::kVideo;
    default:
      return MediaKind::kImage;
  }
}

MediaKind KindOfRows(v1::Modality modality) {
  switch (modality) {
    case v1::MODALITY_AUDIO:
      return MediaKind::kAudio;
    case v1::MODALITY_VIDEO:
      return MediaKind::kVideo;
    default:
      return MediaKind::kImage;
  }
}

// INVALID_ARGUMENT: an option that is not for media of this kind.
absl::Status CheckOptions(const v1::Media& media, MediaKind kind, const std::string& path) {
  const absl::string_view is = kind == MediaKind::kAudio ? "a sound" : "a picture";
  if (media.max_soft_tokens() != 0 && kind == MediaKind::kAudio) {
    return InvalidField(path + ".max_soft_tokens",
                        absl::StrCat(path, ".max_soft_tokens is ", media.max_soft_tokens(),
                                     "; it is for pictures and videos, and this is a sound"));
  }
  if (media.max_frames() != 0 && kind != MediaKind::kVideo) {
    return InvalidField(path + ".max_frames",
                        absl::StrCat(path, ".max_frames is ", media.max_frames(),
                                     "; it is for videos, and this is ", is));
  }
  if (media.without_sound() && kind != MediaKind::kVideo) {
    return InvalidField(
        path + ".without_sound",
        absl::StrCat(path, ".without_sound is set; it is for videos, and this is ", is));
  }
  return absl::OkStatus();
}

// Collects the media of a request in its order.
class MediaList {
 public:
  explicit MediaList(const DecoderContext& context) : context_(context) {}

  absl::StatusOr<MediaRef> Add(const v1::Media& media, const std::string& field) {
    const std::string path = field + ".media";
    if (media.data().empty()) return InvalidField(path + ".data", path + ".data is empty");
    if (media.data().size() > context_.limits.max_media_bytes) {
      return OverLimit(path + ".data",
                       absl::StrCat(path, ".data has ", media.data().size(), " bytes; at most ",
                                    context_.limits.max_media_bytes, " are taken"));
    }
    const MediaKind kind = KindOfMedium(KindOf(media.mime_type(), media.data()));
    RETURN_IF_ERROR(CheckOptions(media, kind, path));
    if (context_.encoders == nullptr) {
      return MakeError(
          absl::StatusCode::kFailedPrecondition,
          absl::StrCat(path, " needs an encoder; this decoder was started without one"),
          {.reason = reason::kNoEncoder, .field = path});
    }
    return Add({.field = path, .kind = kind, .media = &media});
  }

  absl::StatusOr<MediaRef> Add(const v1::SoftTokens& soft_tokens, const std::string& field) {
    const std::string path = field + ".soft_tokens";
    const MediaKind kind = KindOfRows(soft_tokens.header().modality());
    if (kind == MediaKind::kVideo || soft_tokens.header().audio().segments_size() > 1) {
      // Even where those around it are the caller's, those between its runs are ours.
      RETURN_IF_ERROR(Annotate(RequireMarkers(context_.tokenizer, kind), path, path));
    }
    return Add({.field = path, .kind = kind, .soft_tokens = &soft_tokens});
  }

  std::vector<MediumSource> Take() { return std::move(sources_); }

 private:
  absl::StatusOr<MediaRef> Add(MediumSource source) {
    if (static_cast<int>(sources_.size()) == context_.limits.max_media) {
      return OverLimit(source.field, absl::StrCat("the request has more than ",
                                                  context_.limits.max_media, " media"));
    }
    const MediaRef ref{.kind = source.kind, .index = static_cast<int>(sources_.size())};
    sources_.push_back(std::move(source));
    return ref;
  }

  const DecoderContext& context_;
  std::vector<MediumSource> sources_;
};

absl::StatusOr<Role> ReadRole(v1::Role role, const std::string& field) {
  switch (role) {
    case v1::ROLE_SYSTEM:
      return Role::kSystem;
    case v1::ROLE_USER:
      return Role::kUser;
    case v1::ROLE_MODEL:
      return Role::kModel;
    default:
      return InvalidField(field, absl::StrCat(field, " is ", role,
                                              "; it must be system (1), user (2) or model (3)"));
  }
}

absl::Status AddPart(const v1::Part& part, const std::string& field, MediaList* media,
                     ChatMessage* message) {
  switch (part.part_case()) {
    case v1::Part::kText:
      message->parts.emplace_back(part.text());
      return absl::OkStatus();
    case v1::Part::kMedia: {
      ASSIGN_OR_RETURN(const MediaRef ref, media->Add(part.media(), field));
      message->parts.emplace_back(ref);
      return absl::OkStatus();
    }
    case v1::Part::kSoftTokens: {
      ASSIGN_OR_RETURN(const MediaRef ref, media->Add(part.soft_tokens(), field));
      message->parts.emplace_back(ref);
      return absl::OkStatus();
    }
    case v1::Part::kToolCall:
    case v1::Part::kToolResponse:
    case v1::Part::kThought:
      return NotSupported(field, absl::StrCat(field, ": this version has no tool calls"));
    case v1::Part::PART_NOT_SET:
      break;
  }
  return InvalidField(field, absl::StrCat(field, " is empty"));
}

absl::Status CheckServed(const v1::Chat& chat) {
  constexpr absl::string_view kNoTools = "this version has no tool calls";
  if (chat.tools_size() > 0) return NotSupported("chat.tools", kNoTools);
  if (chat.has_tool_choice()) return NotSupported("chat.tool_choice", kNoTools);
  if (chat.has_parallel_tool_calls()) return NotSupported("chat.parallel_tool_calls", kNoTools);
  return absl::OkStatus();
}

absl::StatusOr<ChatMessage> ReadMessage(const v1::Message& from, const std::string& field,
                                        MediaList* media) {
  ChatMessage message;
  ASSIGN_OR_RETURN(message.role, ReadRole(from.role(), field + ".role"));
  for (int i = 0; i < from.parts_size(); ++i) {
    RETURN_IF_ERROR(
        AddPart(from.parts(i), absl::StrCat(field, ".parts[", i, "]"), media, &message));
  }
  return message;
}

absl::StatusOr<std::vector<PromptPiece>> RenderChat(const PromptSource& source,
                                                    const DecoderContext& context,
                                                    MediaList* media) {
  const v1::Chat& chat = *source.chat;
  RETURN_IF_ERROR(CheckServed(chat));
  std::vector<ChatMessage> messages;
  const auto add = [&](const v1::Message& from, const std::string& field) -> absl::Status {
    ASSIGN_OR_RETURN(ChatMessage message, ReadMessage(from, field, media));
    messages.push_back(std::move(message));
    return absl::OkStatus();
  };
  for (size_t i = 0; i < source.history.size(); ++i) {
    RETURN_IF_ERROR(add(*source.history[i], absl::StrCat("session.messages[", i, "]")));
  }
  for (int i = 0; i < chat.messages_size(); ++i) {
    RETURN_IF_ERROR(add(chat.messages(i), absl::StrCat("chat.messages[", i, "]")));
  }
  auto pieces = context.chat_template.Render(messages, {.thinking = chat.thinking()});
  if (!pieces.ok()) return Annotate(pieces.status(), "chat", "chat");
  return pieces;
}

absl::StatusOr<RawPart> ReadRawPart(const v1::RawPart& part, const std::string& field,
                                    MediaList* media) {
  switch (part.part_case()) {
    case v1::RawPart::kText:
      return TextRun{.text = part.text()};
    case v1::RawPart::kTextWithSpecialTokens:
      return TextRun{.text = part.text_with_special_tokens(), .parse_special = true};
    case v1::RawPart::kTokenIds:
      return RawIds{{part.token_ids().ids().begin(), part.token_ids().ids().end()}};
    case v1::RawPart::kSoftTokens: {
      ASSIGN_OR_RETURN(const MediaRef ref, media->Add(part.soft_tokens(), field));
      if (ref.kind == MediaKind::kVideo) {
        return InvalidField(field + ".soft_tokens",
                            absl::StrCat(field,
                                         ".soft_tokens are a video's, whose times and "
                                         "markers are not the caller's: put them into chat"));
      }
      return RawMedia{.media = ref, .markers = false};
    }
    case v1::RawPart::kMedia: {
      ASSIGN_OR_RETURN(const MediaRef ref, media->Add(part.media(), field));
      return RawMedia{.media = ref};
    }
    case v1::RawPart::PART_NOT_SET:
      break;
  }
  return InvalidField(field, absl::StrCat(field, " is empty"));
}

absl::StatusOr<std::vector<PromptPiece>> ReadRaw(const v1::RawPrompt& raw,
                                                 const DecoderContext& context, MediaList* media) {
  std::vector<RawPart> parts;
  for (int i = 0; i < raw.parts_size(); ++i) {
    ASSIGN_OR_RETURN(RawPart part,
                     ReadRawPart(raw.parts(i), absl::StrCat("raw.parts[", i, "]"), media));
    parts.push_back(std::move(part));
  }
  auto pieces = RenderRaw(context.tokenizer, parts, !raw.no_bos());
  if (!pieces.ok()) return Annotate(pieces.status(), "raw", "raw");
  if (pieces->empty()) return InvalidField("raw", "raw: the prompt is empty");
  return pieces;
}

// The runs of a medium at one place of the prompt, and the text that the template leaves to be
// added: before each run, and behind the last. Control tokens in it are such.
struct Place {
  size_t first = 0, last = 0;
  std::vector<std::string> before;
  std::string after;
};

// As Gemma4Processor's replace_video_token: minutes and seconds, both cut.
std::string TimeBefore(const v1::VideoFrame& frame) {
  const int64_t seconds = frame.time().seconds();
  return absl::StrFormat("<image|> %02d:%02d <|image>", seconds / 60, seconds % 60);
}

Place PlaceOf(const MediaRef& ref, const v1::SoftTokensHeader& header) {
  const size_t runs = RunsOf(header).size();
  const auto frames = static_cast<size_t>(header.video().frames_size());
  Place place{.last = ref.kind == MediaKind::kVideo && !ref.sound_beside ? frames : runs};
  if (ref.sound_beside) place.first = frames;
  for (size_t i = place.first; i < place.last; ++i) {
    if (i > place.first && ref.kind == MediaKind::kVideo && !ref.sound_beside) {
      place.before.push_back(TimeBefore(header.video().frames(static_cast<int>(i))));
    } else if (i > place.first) {
      place.before.emplace_back("<audio|><|audio>");
    } else {
      place.before.emplace_back(ref.sound_beside ? "<|audio>" : "");
    }
  }
  if (ref.sound_beside && frames < runs) place.after = "<audio|>";
  return place;
}

}  // namespace

absl::StatusOr<PromptPlan> PlanPrompt(const PromptSource& source, const DecoderContext& context) {
  if (source.chat == nullptr && source.raw == nullptr) {
    return InvalidField("prompt", "the prompt is empty: set chat or raw");
  }
  RETURN_IF_ERROR(CheckSize(source, context));
  MediaList media(context);
  PromptPlan plan;
  if (source.chat != nullptr) {
    ASSIGN_OR_RETURN(plan.pieces, RenderChat(source, context, &media));
  } else {
    ASSIGN_OR_RETURN(plan.pieces, ReadRaw(*source.raw, context, &media));
  }
  plan.media = media.Take();
  return plan;
}

Prompt BuildPrompt(const std::vector<PromptPiece>& pieces, absl::Span<const EncodedMedium> media,
                   const Tokenizer& tokenizer) {
  Prompt prompt;
  const auto add = [&](absl::Span<const int32_t> tokens) {
    prompt.tokens.insert(prompt.tokens.end(), tokens.begin(), tokens.end());
  };
  for (const PromptPiece& piece : pieces) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&piece)) {
      add(*ids);
      continue;
    }
    const MediaRef& ref = std::get<MediaRef>(piece);
    if (static_cast<size_t>(ref.index) >= media.size()) break;
    const EncodedMedium& medium = media[ref.index];
    const Place place = PlaceOf(ref, medium.header);
    for (size_t i = place.first; i < std::min(place.last, medium.runs.size()); ++i) {
      add(tokenizer.Encode(place.before[i - place.first], true));
      const RowRun& run = medium.runs[i];
      const int position = static_cast<int>(prompt.tokens.size());
      prompt.soft.push_back({position, run.rows, run.values, run.name});
      prompt.tokens.insert(prompt.tokens.end(), run.rows, kMediaToken);
    }
    if (medium.runs.size() < place.last) break;
    add(tokenizer.Encode(place.after, true));
  }
  return prompt;
}

int64_t CountPrompt(const std::vector<PromptPiece>& pieces, absl::Span<const EncodedMedium> media,
                    const Tokenizer& tokenizer) {
  int64_t tokens = 0;
  const auto add = [&](absl::string_view text) {
    tokens += static_cast<int64_t>(tokenizer.Encode(text, true).size());
  };
  for (const PromptPiece& piece : pieces) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&piece)) {
      tokens += static_cast<int64_t>(ids->size());
      continue;
    }
    const MediaRef& ref = std::get<MediaRef>(piece);
    const EncodedMedium& medium = media[ref.index];
    const Place place = PlaceOf(ref, medium.header);
    for (const std::string& before : place.before) add(before);
    for (size_t i = place.first; i < place.last; ++i) tokens += medium.runs[i].rows;
    add(place.after);
  }
  return tokens;
}

std::string SpellPrompt(const std::vector<PromptPiece>& pieces,
                        absl::Span<const EncodedMedium> media, const Tokenizer& tokenizer) {
  std::vector<std::string> spelled;
  for (const PromptPiece& piece : pieces) {
    const auto* ref = std::get_if<MediaRef>(&piece);
    if (ref == nullptr) continue;
    const EncodedMedium& medium = media[ref->index];
    const Place place = PlaceOf(*ref, medium.header);
    std::string text;
    for (size_t i = place.first; i < place.last; ++i) {
      absl::StrAppend(&text, place.before[i - place.first], "… ", medium.runs[i].rows,
                      " soft tokens …");
    }
    spelled.push_back(absl::StrCat(text, place.after));
  }
  return Spell(tokenizer, pieces, spelled);
}

absl::Status CheckSize(const PromptSource& source, const DecoderContext& context) {
  int64_t parts = 0;
  int64_t bytes = 0;
  int64_t ids = 0;
  const auto add = [&](const v1::Message& message) {
    parts += std::max(message.parts_size(), 1);
    for (const v1::Part& part : message.parts()) bytes += static_cast<int64_t>(part.text().size());
  };
  for (const auto& message : source.history) add(*message);
  if (source.chat != nullptr) {
    for (const v1::Message& message : source.chat->messages()) add(message);
  }
  if (source.raw != nullptr) {
    parts = source.raw->parts_size();
    for (const v1::RawPart& part : source.raw->parts()) {
      bytes += static_cast<int64_t>(part.text().size() + part.text_with_special_tokens().size());
      ids += part.token_ids().ids_size();
    }
  }
  const int64_t context_length = context.engine.info().context_length;
  const int64_t longest = context.tokenizer.longest();
  const auto check = [&](int64_t count, absl::string_view what, int64_t most) {
    if (count <= most) return absl::OkStatus();
    return MakeError(absl::StatusCode::kOutOfRange,
                     absl::StrCat("the prompt has ", count, " ", what, "; a context of ",
                                  context_length, " tokens takes ", most, " at most"),
                     {.reason = reason::kPromptTooLong, .field = "prompt"});
  };
  RETURN_IF_ERROR(check(parts, "parts", context_length));
  RETURN_IF_ERROR(check(ids, "token ids", context_length));
  return check(bytes, "bytes of text", context_length * longest);
}

absl::Status CheckFits(int64_t tokens, int context_length) {
  if (tokens <= context_length) return absl::OkStatus();
  return MakeError(absl::StatusCode::kOutOfRange,
                   absl::StrCat("the prompt has at least ", tokens, " tokens; the context holds ",
                                context_length),
                   {.reason = reason::kPromptTooLong, .field = "prompt"});
}

absl::Status CheckMayFit(const PromptPlan& plan, int context_length) {
  int64_t tokens = static_cast<int64_t>(plan.media.size());
  for (const PromptPiece& piece : plan.pieces) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&piece)) tokens += ids->size();
  }
  return CheckFits(tokens, context_length);
}

}  // namespace softsplice
