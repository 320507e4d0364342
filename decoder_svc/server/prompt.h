// A request's prompt, checked and rendered, with its media still to be encoded; and the prompt that
// the engine reads once they are.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/server/context.h"
#include "decoder_svc/text/chat.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// The n-th medium of a request: one of the two pointers is set; it points into the request.
struct MediumSource {
  std::string field;  // path of the medium, for example "chat.messages[0].parts[1].media"
  MediaKind kind = MediaKind::kImage;
  const v1::Media* media = nullptr;
  const v1::SoftTokens* soft_tokens = nullptr;
};

struct PromptPlan {
  std::vector<PromptPiece> pieces;
  std::vector<MediumSource> media;  // by MediaRef.index
};

// What a request asks about: one of `chat` and `raw` is set (or none: an error); `history` is
// before the chat's messages.
struct PromptSource {
  const v1::Chat* chat = nullptr;
  const v1::RawPrompt* raw = nullptr;
  absl::Span<const std::shared_ptr<const v1::Message>> history;
};

// Checks (its size too) and renders.
// INVALID_ARGUMENT, RESOURCE_EXHAUSTED (limits), FAILED_PRECONDITION (media without an encoder),
// UNIMPLEMENTED (tools), each with the field.
absl::StatusOr<PromptPlan> PlanPrompt(const PromptSource& source, const DecoderContext& context);

// OUT_OF_RANGE if a prompt of so many bytes, parts and token ids can't fit `context_length` tokens:
// then it is not worth tokenising, which takes far more time and memory than the request.
absl::Status CheckSize(const PromptSource& source, const DecoderContext& context);

// OUT_OF_RANGE with both numbers: so many are too many.
absl::Status CheckFits(int64_t tokens, int context_length);

// The same if the plan is over the context even if every medium has but one
// row: then none need be encoded.
absl::Status CheckMayFit(const PromptPlan& plan, int context_length);

// The prompt with `media[i]` at the place of the i-th medium; its tokens there are the padding's.
// What is around a medium is among the pieces; what is between its runs is added. It ends where the
// first run is missing.
Prompt BuildPrompt(const std::vector<PromptPiece>& pieces, absl::Span<const EncodedMedium> media,
                   const Tokenizer& tokenizer);

// How many tokens that prompt has.
int64_t CountPrompt(const std::vector<PromptPiece>& pieces, absl::Span<const EncodedMedium> media,
                    const Tokenizer& tokenizer);

// How it reads to the model, for people: rows as their number.
std::string SpellPrompt(const std::vector<PromptPiece>& pieces,
                        absl::Span<const EncodedMedium> media, const Tokenizer& tokenizer);

}  // namespace softsplice
