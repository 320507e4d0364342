#include "deploy/cli/media.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/media/sound.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

// What the services take unless told otherwise.
constexpr size_t kMaxStdinBytes = 32 << 20;

absl::StatusOr<std::string> ReadStdin(Interrupts& interrupts) {
  if (isatty(STDIN_FILENO) != 0) {
    return absl::InvalidArgumentError(
        "standard input is the terminal; pipe a sound into it, as in `arecord -f cd | softsplice "
        "chat --audio - \"What is said?\"`");
  }
  std::string data;
  std::string chunk(1 << 16, '\0');
  while (!interrupts.raised()) {
    pollfd inputs[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                       {.fd = interrupts.fd(), .events = POLLIN}};
    if (poll(inputs, 2, -1) < 0 || inputs[1].revents != 0) continue;
    const ssize_t got = read(STDIN_FILENO, chunk.data(), chunk.size());
    if (got < 0) return absl::ErrnoToStatus(errno, "can't read standard input");
    if (got == 0) return data;
    data.append(chunk, 0, static_cast<size_t>(got));
    if (data.size() > kMaxStdinBytes) {
      return absl::ResourceExhaustedError(absl::StrCat("standard input has more than ",
                                                       kMaxStdinBytes >> 20,
                                                       " MiB; give a larger sound as a file"));
    }
  }
  return absl::CancelledError("interrupted");
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, " is a folder"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("can't read ", path));
  std::string data{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return absl::ErrnoToStatus(errno, absl::StrCat("can't read ", path));
  return data;
}

absl::Status WriteFile(const std::string& path, absl::string_view data) {
  const std::string draft = absl::StrCat(path, ".part");
  std::ofstream file(draft, std::ios::binary | std::ios::trunc);
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
  file.close();
  if (file && std::rename(draft.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const absl::Status status = absl::ErrnoToStatus(errno, absl::StrCat("can't write ", path));
  std::remove(draft.c_str());
  return status;
}

absl::StatusOr<v1::Part> PicturePart(const std::string& path, uint32_t budget) {
  v1::Part part;
  ASSIGN_OR_RETURN(*part.mutable_media()->mutable_data(), ReadFile(path));
  if (LooksLikeSound(part.media().data())) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a sound; give it with --audio (in a conversation: /audio)"));
  }
  part.mutable_media()->set_max_soft_tokens(budget);
  return part;
}

absl::StatusOr<v1::Part> SoundPart(const std::string& path, Interrupts& interrupts) {
  v1::Part part;
  v1::Media& media = *part.mutable_media();
  const bool piped = path == kStdin;
  ASSIGN_OR_RETURN(*media.mutable_data(), piped ? ReadStdin(interrupts) : ReadFile(path));
  if (LooksLikeSound(media.data())) return part;
  // One that begins oddly: the server has a closer look.
  media.set_mime_type(std::string(piped ? "" : SoundTypeOfName(path)));
  if (!media.mime_type().empty()) return part;
  const std::string what = piped ? "what came on standard input" : path;
  return absl::InvalidArgumentError(
      absl::StrCat(what, media.data().empty() ? " is empty" : " is no sound",
                   "; WAV, FLAC, OGG (Vorbis, Opus), MP3, M4A (AAC) and WebM are read"));
}

absl::StatusOr<v1::Part> SoftTokensPart(const std::string& path) {
  v1::Part part;
  ASSIGN_OR_RETURN(const std::string data, ReadFile(path));
  if (!part.mutable_soft_tokens()->ParseFromString(data) ||
      part.soft_tokens().header().rows() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " holds no soft tokens; `softsplice encode` makes such files"));
  }
  return part;
}

}  // namespace softsplice
