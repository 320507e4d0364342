// What files are by their first bytes, and what mime types say.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace softsplice {

struct Magic {
  size_t offset;
  absl::string_view bytes;
};

bool HasMagic(absl::string_view bytes, const Magic& magic);

// kVideo: also of a container that may hold nothing but a sound (tracks.h).
enum class ContentKind { kPicture, kSound, kVideo, kNeither };

// A format that people send, also by mistake.
struct NamedFormat {
  Magic magic;
  absl::string_view name;  // for messages: "WebP", "a URL"
  ContentKind kind;
};

// The format that `bytes` look like. Null if it is none that we know by name, as MP3 without a tag.
const NamedFormat* FindNamedFormat(absl::string_view bytes);

// Its name, also when the bytes are base64 text that stands for it ("PNG in base64"); empty if
// there is none.
std::string LooksLike(absl::string_view bytes);

// "audio/wav" of " Audio/WAV; codecs=1".
std::string MimeEssence(absl::string_view mime_type);

}  // namespace softsplice
