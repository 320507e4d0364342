// What lies in containers that hold sounds, videos or both.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"

namespace softsplice {

struct Tracks {
  bool video = false;
  bool sound = false;
};

// The kinds of tracks that an MP4 (MOV) or WebM (Matroska) says it has; none, where its list of
// tracks is not in `data`. Pictures of the record are no tracks. Nothing: `data` begin as something
// else. Takes time in proportion to the number of boxes or elements, and no memory.
std::optional<Tracks> FindTracks(absl::string_view data);

// Whether one of these was cut off for sure: inside of what tells where samples are (MP4), or
// before the end that it states (WebM; live recordings state none).
bool IsCutOff(absl::string_view data);

}  // namespace softsplice
