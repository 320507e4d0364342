// Pictures, sounds and soft tokens of the user's as parts of a message.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "deploy/cli/signals.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

enum class FileKind : uint8_t { kImage, kAudio, kSoft };

struct MediaFile {
  FileKind kind = FileKind::kImage;
  std::string path;  // kStream is standard input
};

// The file's bytes as media, which the server looks into, or the soft tokens that `softsplice
// encode` wrote. `budget`: rows of a picture; 0: the server's default. INVALID_ARGUMENT: by its
// first bytes (and a sound's name) it is not of its kind, or standard input is a terminal; else the
// errors of ReadFile.
absl::StatusOr<v1::Part> MediaPart(const MediaFile& file, uint32_t budget, Interrupts& interrupts);

// Tells people what was added: "picture added: NAME, 640 x 480", "sound added: NAME, 5.2 s", "soft
// tokens added: NAME, 280 rows"; the size in bytes where this program can't read it (a server may).
// Sounds may be decoded for it.
std::string SayAdded(const MediaFile& file, const v1::Part& part, Interrupts& interrupts);

}  // namespace softsplice
