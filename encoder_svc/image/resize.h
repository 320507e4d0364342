// The official target size and Pillow's antialiased bicubic resize.
#pragma once

#include "absl/status/statusor.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

struct PictureSize {
  int width = 0;
  int height = 0;
};

// The size a `width` x `height` picture is resized to so that it keeps its ratio, fills a budget of
// `max_soft_tokens` and has sides that are multiples of patch * pool (transformers'
// get_aspect_ratio_preserving_size). Sides are >= 1. INVALID_ARGUMENT where the rule has no answer.
absl::StatusOr<PictureSize> TargetSize(int width, int height, int max_soft_tokens, int patch,
                                       int pool);

// `picture` resized to `size`, bit-equal to Pillow's Image.resize(BICUBIC) of an RGB image.
Picture ResizeBicubic(const Picture& picture, PictureSize size);

}  // namespace softsplice
