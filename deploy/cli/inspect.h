// `softsplice inspect FILE`: what a GGUF file holds, what it is good for and what memory it takes.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace softsplice {

enum class InspectAs : uint8_t {
  kText,    // for people
  kJson,    // one object, whose metadata arrays of more than 32 entries become {"count", "first"}
  kMemory,  // a number: bytes that its service needs on a CPU, with its default options, to start
};

// Writes a description of the GGUF file at `path` (any part of a split one) to `out`. The errors
// are those of gguf::File::Open; a sound file that the services can't use is none, the description
// says why they can't, but for kMemory (FAILED_PRECONDITION).
absl::Status Inspect(const std::string& path, InspectAs as, std::ostream& out);

}  // namespace softsplice
