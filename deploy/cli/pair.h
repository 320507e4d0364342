// Whether a text model and an mmproj can work together.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace softsplice {

// One file of a pair, in words.
struct PairMember {
  std::string name;  // of the model, as the file or the service has it
  int width = 0;     // of the text model's rows, or of the soft tokens
};

// FAILED_PRECONDITION: the widths differ; names both models. Models of one width may still differ:
// nothing in the files tells.
absl::Status CheckWidths(const PairMember& text, const PairMember& mmproj);

// CheckWidths of two GGUF files, by their headers. FAILED_PRECONDITION as well where one of them is
// of another kind. What else is wrong with a file is its service's to say: no error.
absl::Status CheckPair(const std::string& text_path, const std::string& mmproj_path);

}  // namespace softsplice
