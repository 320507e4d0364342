// EXIF orientation.
#pragma once

#include "absl/strings/string_view.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

// 1 to 8 as in EXIF, from a TIFF block; 1 (upright) where there is none or it can't be read.
int ReadOrientation(absl::string_view exif);

// `picture` turned upright; orientations 5 to 8 swap width and height.
Picture Upright(Picture picture, int orientation);

}  // namespace softsplice
