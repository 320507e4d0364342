// The one instance of stb_image, with limits on what it allocates.
#include "encoder_svc/image/stb.h"

#include <cstdlib>

#include "encoder_svc/image/allowance.h"

// GIF only. libjpeg-turbo gives the reference's pixels for JPEG, bit for bit, and libpng drops
// broken chunks as the reference does; both check more than this version of stb_image.
#define STBI_ONLY_GIF
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 65535
#define STBI_MALLOC(bytes) softsplice::AllocateAllowed(bytes)
#define STBI_REALLOC(old, bytes) softsplice::ReallocateAllowed(old, bytes)
#define STBI_FREE(old) softsplice::FreeAllowed(old)
#define STBI_ASSERT(condition) ((void)(condition))
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

namespace softsplice {

void StbFree::operator()(uint8_t* pixels) const { std::free(pixels); }

absl::StatusOr<StbImage> StbDecode(absl::string_view bytes, size_t most_bytes) {
  const Allowance allowance(most_bytes);
  StbImage image;
  int channels = 0;
  image.rgba.reset(stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                                         static_cast<int>(bytes.size()), &image.width,
                                         &image.height, &channels, 4));
  const char* reason = stbi_failure_reason();
  if (image.rgba == nullptr) return allowance.Failure(reason == nullptr ? "corrupt" : reason);
  return image;
}

}  // namespace softsplice
