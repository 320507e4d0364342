// Files on the user's side: pictures, sounds and soft tokens as parts of a message.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "deploy/cli/signals.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// Stands for standard input where a sound's file is named.
inline constexpr char kStdin[] = "-";

// NOT_FOUND or PERMISSION_DENIED, naming the file.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Replaces the file at `path`, whole or not at all. `path` is left alone on an error.
absl::Status WriteFile(const std::string& path, absl::string_view data);

// The file's bytes as media; the server finds out what they are. `budget` 0: the server's default.
// INVALID_ARGUMENT: it is a sound.
absl::StatusOr<v1::Part> PicturePart(const std::string& path, uint32_t budget);

// The same for a sound; `path` may be kStdin, which is read to its end. INVALID_ARGUMENT: by
// content and name it is no sound; RESOURCE_EXHAUSTED: more on standard input than the services
// take; CANCELLED: a signal came meanwhile.
absl::StatusOr<v1::Part> SoundPart(const std::string& path, Interrupts& interrupts);

// A file that `softsplice encode` wrote. INVALID_ARGUMENT: it is something else.
absl::StatusOr<v1::Part> SoftTokensPart(const std::string& path);

}  // namespace softsplice
