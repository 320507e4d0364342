// The one instance of stb_image, with limits on what it allocates.
#include "encoder_svc/image/stb.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

// What the decoder may still take. stb_image passes no context to its allocator.
struct Allowance {
  size_t left = 0;
  bool exceeded = false;      // it wanted more
  bool memory_short = false;  // the system had less
};
thread_local Allowance allowance;

void* Take(void* old, size_t bytes) {
  const size_t held = old == nullptr ? 0 : malloc_usable_size(old);
  if (bytes > allowance.left + held) {
    allowance.exceeded = true;
    return nullptr;
  }
  // New memory is zeroed, so that pixels a broken file never writes don't show what was there.
  void* memory = old == nullptr ? std::calloc(1, bytes) : std::realloc(old, bytes);
  if (memory == nullptr) {
    allowance.memory_short = true;
    return nullptr;
  }
  // Rounding up is the system's; it does not count.
  allowance.left += held;
  allowance.left -= std::min(allowance.left, malloc_usable_size(memory));
  return memory;
}

void* StbAllocate(size_t bytes) { return Take(nullptr, bytes); }

void* StbReallocate(void* old, size_t bytes) { return Take(old, bytes); }

void StbRelease(void* old) {
  if (old != nullptr) allowance.left += malloc_usable_size(old);
  std::free(old);
}

}  // namespace
}  // namespace softsplice

// GIF only. libjpeg-turbo gives the reference's pixels for JPEG, bit for bit, and libpng drops
// broken chunks as the reference does; both check more than this version of stb_image.
#define STBI_ONLY_GIF
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 65535
#define STBI_MALLOC(bytes) softsplice::StbAllocate(bytes)
#define STBI_REALLOC(old, bytes) softsplice::StbReallocate(old, bytes)
#define STBI_FREE(old) softsplice::StbRelease(old)
#define STBI_ASSERT(condition) ((void)(condition))
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

namespace softsplice {

namespace {

absl::Status Failure() {
  if (allowance.memory_short) return OutOfMemory("no memory for the picture's pixels");
  if (allowance.exceeded) {
    return InvalidMedia("the picture's data are larger than its header says");
  }
  const char* reason = stbi_failure_reason();
  return InvalidMedia(
      absl::StrCat("the picture can't be decoded: ", reason == nullptr ? "corrupt" : reason));
}

}  // namespace

void StbFree::operator()(uint8_t* pixels) const { std::free(pixels); }

absl::StatusOr<StbImage> StbDecode(absl::string_view bytes, int channels, size_t most_bytes) {
  allowance = {.left = most_bytes};
  StbImage image;
  image.pixels.reset(stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                                           static_cast<int>(bytes.size()), &image.width,
                                           &image.height, &image.channels, channels));
  if (image.pixels == nullptr) return Failure();
  if (channels != 0) image.channels = channels;
  return image;
}

}  // namespace softsplice
