// Any bytes as a medium whose kind is to be told.
//
//   media_kind_fuzz CORPUS tests/data/audio tests/data/image
#include <cstdint>
#include <cstdlib>

#include "common/media/kind.h"
#include "common/media/tracks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using softsplice::ContentKind;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const ContentKind kind = softsplice::KindOf("", bytes);
  const ContentKind stated = softsplice::KindOf("video/mp4", bytes);
  if (stated != ContentKind::kVideo && stated != kind) std::abort();
  const auto tracks = softsplice::FindTracks(bytes);
  if (tracks && tracks->video && kind == ContentKind::kNeither) std::abort();
  if (softsplice::IsCutOff(bytes) && size < 5) std::abort();
  return 0;
}
