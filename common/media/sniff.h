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

// What people send most often by mistake: the name of the format that `bytes` look like ("WebP",
// "a URL"), for messages. Empty if it is none that we know.
absl::string_view LooksLike(absl::string_view bytes);

// "audio/wav" of " Audio/WAV; codecs=1".
std::string MimeEssence(absl::string_view mime_type);

}  // namespace softsplice
