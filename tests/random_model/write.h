// Writes a random model as a GGUF file, with all cores.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "tests/random_model/model.h"

namespace softsplice::random_model {

// Whatever was at `path` is replaced once all is written. `written` hears bytes as they are, from
// several threads. The same model gives the same file. INTERNAL, with the system's reason: the file
// cannot be written; nothing is left of it then.
absl::Status Write(const std::string& path, Model model, absl::FunctionRef<void(uint64_t)> written);

}  // namespace softsplice::random_model
