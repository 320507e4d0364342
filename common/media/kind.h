// Telling pictures, sounds and videos apart, before anybody has to read one.
#pragma once

#include "absl/strings/string_view.h"
#include "common/media/sniff.h"

namespace softsplice {

// What a medium is to be read as. "audio/…" and "image/…" are believed, and "video/…" unless the
// bytes are a sound: browsers call recordings of a microphone so. Anything else is looked up in the
// bytes: MP4 and WebM are videos if they have a track of pictures, MP3 may have no tag in front,
// and what people take for a picture, sound or video is one, so that they get its error message.
ContentKind KindOf(absl::string_view mime_type, absl::string_view data);

// The mime type that a sound's or video's file name stands for ("audio/mpeg" for "a/b.MP3"); empty
// for others.
absl::string_view TypeOfName(absl::string_view file_name);

}  // namespace softsplice
