// What a text file has that no part of the decoder reads. A model that needs it would answer, and
// wrongly.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/gguf/file.h"

namespace softsplice {

// InvalidFile: positions are scaled (rope.scaling), a layer has a tensor of a kind that gemma4 does
// not have, such as a bias, or there are more layers than the `layers` of the file's own count.
absl::Status CheckArithmetic(const gguf::File& file, int layers);

// The other keys of the model and tensors that nobody reads: they may matter, and whoever serves
// the file is to hear of them.
std::vector<std::string> UnreadNames(const gguf::File& file);

}  // namespace softsplice
