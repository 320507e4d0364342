// Files, pipes and devices on the user's side. A signal ends every wait.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "deploy/cli/signals.h"

namespace softsplice {

// Stands for standard input, or output, where a file is named.
inline constexpr char kStream[] = "-";

// What is read of standard input, a pipe or a device, which may have no end: what the services take
// of a medium unless told otherwise.
inline constexpr size_t kMaxStreamBytes = 32 << 20;
// Of a file: half of what a message can hold.
inline constexpr size_t kMaxFileBytes = 1 << 30;

// Whether standard input is a file, a pipe or a socket: somebody put something there to be read.
bool StdinIsPiped();

// All of the file, pipe or device at `path`, or of standard input (kStream). NOT_FOUND,
// PERMISSION_DENIED and the like name the file; RESOURCE_EXHAUSTED: more than the limits above;
// CANCELLED: a signal came.
absl::StatusOr<std::string> ReadFile(const std::string& path, Interrupts& interrupts);

// Puts `data` where `path` says: a regular file, or one that is not there yet, is replaced whole or
// not at all; into what else is there (a device, a pipe, what a link points to, standard output for
// kStream) it is written. CANCELLED: a signal came.
absl::Status WriteFile(const std::string& path, absl::string_view data, Interrupts& interrupts);

}  // namespace softsplice
