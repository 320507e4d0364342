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

// 8-bit samples, `channels` interleaved: grey, grey and alpha, RGB, RGBA. 16-bit files are reduced
// to their high bytes.
struct StbImage {
  int width = 0;
  int height = 0;
  int channels = 0;
  std::unique_ptr<uint8_t[], StbFree> pixels;
};

// Decodes a PNG, GIF (first frame) or BMP whose structure has been checked (header.h). `channels`
// is what to convert to, 0 leaves it as the file has it. All that it allocates at a time, the
// pixels included, is at most `most_bytes`: a small file can't inflate to more. Any thread.
// INVALID_ARGUMENT: corrupt, or larger than its header says. RESOURCE_EXHAUSTED: memory is short.
absl::StatusOr<StbImage> StbDecode(absl::string_view bytes, int channels, size_t most_bytes);

}  // namespace softsplice
