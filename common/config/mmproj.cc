#include "common/config/mmproj.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {

absl::StatusOr<Towers> FindTowers(const gguf::File& file) {
  ASSIGN_OR_RETURN(const std::string arch, file.String("general.architecture"));
  if (arch == "gemma4") {
    return InvalidFile(file.path(),
                       "this is a text file (arch gemma4); --mmproj takes the mmproj "
                       "file (arch clip)");
  }
  if (arch != "clip") {
    return InvalidFile(file.path(), absl::StrCat("arch ", absl::Utf8SafeCEscape(arch),
                                                 " is not supported, clip (an mmproj file) is"));
  }
  const Towers towers{.image = file.Bool("clip.has_vision_encoder").value_or(false),
                      .audio = file.Bool("clip.has_audio_encoder").value_or(false)};
  if (towers.image || towers.audio) return towers;
  return InvalidFile(file.path(), "this mmproj file has no image tower and no audio tower");
}

absl::Status CheckTower(const gguf::File& file, bool present, absl::string_view medium,
                        absl::string_view prefix, absl::string_view projector) {
  if (!present) {
    return InvalidFile(file.path(), absl::StrCat("this mmproj file has no ", medium, " tower"));
  }
  // Files with one tower only may use the short key.
  const std::string own = absl::StrCat(prefix, "projector_type");
  ASSIGN_OR_RETURN(const std::string type,
                   file.String(file.Has(own) ? own : "clip.projector_type"));
  if (type == projector) return absl::OkStatus();
  return InvalidFile(file.path(), absl::StrCat(medium, " projector ", absl::Utf8SafeCEscape(type),
                                               " is not supported, ", projector, " is"));
}

}  // namespace softsplice
