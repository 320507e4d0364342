// Pictures, sounds, videos and soft tokens of the user's as parts of a message.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/media/sniff.h"
#include "deploy/cli/signals.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

enum class FileKind : uint8_t { kImage, kAudio, kVideo, kSoft };

struct MediaFile {
  FileKind kind = FileKind::kImage;
  std::string path;  // kStream is standard input
};

// How media are to be read; 0: the server's default.
struct MediaOptions {
  uint32_t budget = 0;  // rows of a picture, or of a video's frame
  uint32_t frames = 0;  // of a video
  bool no_sound = false;
};

// What a file is to be read as.
struct FileContent {
  ContentKind kind = ContentKind::kNeither;
  std::string mime_type;  // for a server, where the bytes alone don't tell
};

// Its bytes decide and, where they don't tell or end too early, its name.
FileContent ContentOf(const std::string& path, absl::string_view data);

// The file's bytes as media, which the server looks into, or the soft tokens that `softsplice
// encode` wrote. Of a video that is given as a sound its sound is asked for. INVALID_ARGUMENT: by
// its bytes (and a sound's or video's name) it is not of its kind, or standard input is a terminal;
// else the errors of ReadFile.
absl::StatusOr<v1::Part> MediaPart(const MediaFile& file, const MediaOptions& options,
                                   Interrupts& interrupts);

// Tells people what was added: "picture added: NAME, 640 x 480", "sound added: NAME, 5.2 s", "video
// added: NAME, 1.2 MiB", "soft tokens added: NAME, 280 rows"; the size in bytes where this program
// can't read it (a server may). Sounds may be decoded for it.
std::string SayAdded(const MediaFile& file, const v1::Part& part, Interrupts& interrupts);

}  // namespace softsplice
