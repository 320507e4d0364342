// Files on the user's side: pictures and soft tokens as parts of a message.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// NOT_FOUND or PERMISSION_DENIED, naming the file.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Replaces the file at `path`, whole or not at all. `path` is left alone on an error.
absl::Status WriteFile(const std::string& path, absl::string_view data);

// The file's bytes as media; the server finds out what they are. `budget` 0: the server's default.
absl::StatusOr<v1::Part> PicturePart(const std::string& path, uint32_t budget);

// A file that `softsplice encode` wrote. INVALID_ARGUMENT: it is something else.
absl::StatusOr<v1::Part> SoftTokensPart(const std::string& path);

}  // namespace softsplice
