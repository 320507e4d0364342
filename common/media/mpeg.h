// Frames of MPEG audio, which MP3 files have no name for.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace softsplice {

// Whether `bytes` begin with the header of an MPEG audio frame: eleven ones, then a version, a
// layer, a bit rate and a sample rate that exist.
bool IsMpegFrame(absl::string_view bytes);

// Where MP3's frames begin, of which the first may have lost its head: the first place, near the
// beginning, at which three follow one another. npos: nowhere.
size_t FindMp3Frames(absl::string_view bytes);

}  // namespace softsplice
