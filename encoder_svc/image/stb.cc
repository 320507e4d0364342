// The one instance of stb_image, with limits on what it allocates.
#include "encoder_svc/image/stb.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

// stb_image passes no context to its allocator.
thread_local size_t stb_max_allocation = 0;

// Zeroed, so that pixels a broken file never writes don't show what was in memory before.
void* StbAllocate(size_t bytes) {
  return bytes <= stb_max_allocation ? std::calloc(1, bytes) : nullptr;
}

void* StbReallocate(void* old, size_t bytes) {
  return bytes <= stb_max_allocation ? std::realloc(old, bytes) : nullptr;
}

}  // namespace
}  // namespace softsplice

// JPEG is not taken from here: libjpeg-turbo gives the reference's pixels, bit for bit, and checks
// tables that this version of stb_image does not.
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_ONLY_GIF
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 65535
#define STBI_MALLOC(bytes) softsplice::StbAllocate(bytes)
#define STBI_REALLOC(old, bytes) softsplice::StbReallocate(old, bytes)
#define STBI_FREE(old) std::free(old)
#define STBI_ASSERT(condition) ((void)(condition))
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

namespace softsplice {

void StbFree::operator()(uint8_t* pixels) const { std::free(pixels); }

absl::StatusOr<StbImage> StbDecode(absl::string_view bytes, int channels, size_t max_allocation) {
  stb_max_allocation = max_allocation;
  StbImage image;
  image.pixels.reset(stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                                           static_cast<int>(bytes.size()), &image.width,
                                           &image.height, &image.channels, channels));
  if (image.pixels == nullptr) {
    const char* reason = stbi_failure_reason();
    return InvalidMedia(
        absl::StrCat("the picture can't be decoded: ", reason == nullptr ? "corrupt" : reason));
  }
  if (channels != 0) image.channels = channels;
  return image;
}

}  // namespace softsplice
