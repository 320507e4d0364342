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

// Whether `bytes` begin with the header of an MPEG audio frame, which MP3 files have no name for:
// eleven ones, then a version, a layer, a bit rate and a sample rate that exist.
bool IsMpegFrame(absl::string_view bytes);

// What people send most often by mistake: the name of the format that `bytes` look like ("WebP",
// "a URL"), for messages. Empty if it is none that we know.
absl::string_view LooksLike(absl::string_view bytes);

// "audio/wav" of " Audio/WAV; codecs=1".
std::string MimeEssence(absl::string_view mime_type);

}  // namespace softsplice
