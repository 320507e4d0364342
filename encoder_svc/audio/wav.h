// What a WAV says of itself, and what is true of it.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "common/media/memory_file.h"

namespace softsplice {

struct Wav {
  // What libsndfile is given: the format and the samples, with sizes that are true, and none of the
  // other chunks, of which some make it look for their end for ever. Empty: there are no samples.
  MemoryFile file;
  // The file ends before its samples do.
  bool truncated = false;
  // Frames of MPEG audio (MP3, or layer II), where the WAV holds these.
  std::optional<absl::string_view> mpeg;
};

// Looks for the samples of a RIFF, RIFX, RF64 or BW64 file. Recorders that crash leave 0 as the
// size of the samples, pipes the largest number, and some writers count headers, too: theirs go on
// to the end of the file. They are cut off only if the whole file's size says so as well.
Wav ReadWav(absl::string_view bytes);

}  // namespace softsplice
