// stb_image behind a guard: the only file that sees it is stb.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace softsplice {

struct StbFree {
  void operator()(uint8_t* pixels) const;
};

struct StbImage {
  int width = 0;
  int height = 0;
  std::unique_ptr<uint8_t[], StbFree> rgba;
};

// Decodes a GIF (first frame) whose structure has been checked. All that it allocates at a time,
// the pixels included, is at most `most_bytes`. Any thread. INVALID_ARGUMENT: corrupt, or larger
// than its header says. RESOURCE_EXHAUSTED: memory is short.
absl::StatusOr<StbImage> StbDecode(absl::string_view bytes, size_t most_bytes);

}  // namespace softsplice
