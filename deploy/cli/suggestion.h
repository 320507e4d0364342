// What somebody may have meant who mistyped a word.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace softsplice {

// "; did you mean CANDIDATE?" with the one that is nearest to `typed`; empty if none is near: at
// most two letters wrong, missing, too many or swapped, and fewer than half of them.
std::string DidYouMean(absl::string_view typed, const std::vector<std::string>& candidates);

}  // namespace softsplice
