// Telling sounds from pictures, before anybody has to read either.
#pragma once

#include "absl/strings/string_view.h"

namespace softsplice {

// Whether `data` begins as a sound file does: WAV, FLAC, OGG, MP3 with or without a tag in front,
// MP4 and WebM, of which nothing but sound is read, and the kinds that people take for one of these
// (so that they get a sound's error message).
bool LooksLikeSound(absl::string_view data);

// The same with a mime type, which may be empty: "audio/…" and "image/…" are believed, anything
// else is looked up in the bytes.
bool IsSound(absl::string_view mime_type, absl::string_view data);

// The mime type that a file name's extension stands for ("audio/mpeg" for "a/b.MP3"); empty: not a
// sound's.
absl::string_view SoundTypeOfName(absl::string_view file_name);

}  // namespace softsplice
