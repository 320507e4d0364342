// `softsplice inspect FILE [FILE]`: what GGUF files hold, what they are good for, whether they go
// together, and what memory they take.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace softsplice {

enum class InspectAs : uint8_t {
  kSummary,  // for people
  kTensors,  // the same, and all metadata and tensors
  kJson,     // one object, whose metadata arrays of more than 32 entries become {"count", "first"};
             // of a pair, {"files": [...], "pair": "..."}
  kMemory,   // a number: bytes that its service needs on a CPU, with its default options, to start;
             // of a pair, both services
};

// Writes a description of one GGUF file, or of a text model and its mmproj, to `out` (of a split
// file, any part is named). Returns whether the services can serve it, as far as loading goes
// without memory or a device: the description says why not. Errors: those of gguf::File::Open; for
// kMemory also why it can't be served (FAILED_PRECONDITION).
absl::StatusOr<bool> Inspect(const std::vector<std::string>& paths, InspectAs as,
                             std::ostream& out);

}  // namespace softsplice
