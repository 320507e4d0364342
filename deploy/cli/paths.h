// Names of files as people type them, or a terminal does for them, behind a command.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace softsplice {

// What Tab does.
struct Completion {
  std::string text;                  // instead of all that stands before the cursor
  std::vector<std::string> choices;  // to be listed, where there are several
};

// The file that `typed` names, which may be in quotes, have backslashes before what a shell treats
// in its own way, and begin with ~/ (a file whose name is just as it was typed comes first).
std::string TypedPath(absl::string_view typed);

// `typed` with as much as is sure of the files that begin so. Blanks need no backslash: it may have
// some, and comes back without.
Completion CompletePath(absl::string_view typed);

}  // namespace softsplice
