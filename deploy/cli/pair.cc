#include "deploy/cli/pair.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/config/audio_config.h"
#include "common/config/mmproj.h"
#include "common/config/text_config.h"
#include "common/config/vision_config.h"
#include "common/gguf/file.h"
#include "common/status/macros.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

constexpr char kTextArchitecture[] = "gemma4";
constexpr char kMmprojArchitecture[] = "clip";

// FAILED_PRECONDITION: `file` is what the other option takes.
absl::Status CheckKind(const gguf::File& file, absl::string_view other, absl::string_view message) {
  if (file.String("general.architecture").value_or("") != other) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(file.path(), " ", message));
}

std::string NameOf(const gguf::File& file) {
  return file.String("general.name").value_or(file.path());
}

std::optional<int> SoftTokenWidth(const gguf::File& file) {
  const auto towers = FindTowers(file);
  if (!towers.ok()) return std::nullopt;
  if (towers->image) {
    const auto vision = VisionConfig::FromGguf(file);
    return vision.ok() ? std::optional(vision->projection_dim) : std::nullopt;
  }
  const auto audio = AudioConfig::FromGguf(file);
  return audio.ok() ? std::optional(audio->projection_dim) : std::nullopt;
}

}  // namespace

absl::Status CheckWidths(const PairMember& text, const PairMember& mmproj) {
  if (text.width == mmproj.width) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the text model and the mmproj are not of one model: ", PrintableText(text.name),
      " has a width of ", text.width, ", the soft tokens of ", PrintableText(mmproj.name), " of ",
      mmproj.width, "; take both files from one place"));
}

absl::Status CheckPair(const std::string& text_path, const std::string& mmproj_path) {
  const auto text = gguf::File::Open(text_path);
  const auto mmproj = gguf::File::Open(mmproj_path);
  if (!text.ok() || !mmproj.ok()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckKind(**text, kMmprojArchitecture,
                            "is an mmproj: give it to --mmproj, and the text model to --model"));
  RETURN_IF_ERROR(CheckKind(**mmproj, kTextArchitecture,
                            "is a text model: give it to --model, and its mmproj to --mmproj"));
  const auto config = TextConfig::FromGguf(**text);
  const std::optional<int> width = SoftTokenWidth(**mmproj);
  if (!config.ok() || !width) return absl::OkStatus();
  return CheckWidths({.name = NameOf(**text), .width = config->dim},
                     {.name = NameOf(**mmproj), .width = *width});
}

}  // namespace softsplice
