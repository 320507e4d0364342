// `softsplice inspect FILE`: what a GGUF file holds, what it is good for and what it takes of a
// GPU.
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace softsplice {

// Writes a description of the GGUF file at `path` (any part of a split one) to `out`: for people,
// or with `json` as one JSON object (whose metadata arrays of more than 32 entries become {"count",
// "first"}). The errors are those of gguf::File::Open; a sound file that the services can't use is
// none, the description says why they can't.
absl::Status Inspect(const std::string& path, bool json, std::ostream& out);

}  // namespace softsplice
