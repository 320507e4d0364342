// Which way is up.
#pragma once

#include "absl/strings/string_view.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

// Where a file may say so.
struct OrientationTags {
  absl::string_view exif;         // a TIFF block, as it is or with "Exif\0\0" in front
  absl::string_view raw_profile;  // ImageMagick's text for one: "\nexif\n <bytes>\n<hex digits>"
  absl::string_view xmp;          // an XML packet with tiff:Orientation
};

// 1 to 8 as in EXIF, found in the order in which Pillow looks: EXIF or, where there is none, the
// raw profile; XMP if these don't say. 1 (upright) where nothing says it, or says it in a way that
// can't be read.
int ReadOrientation(const OrientationTags& tags);

// `picture` turned upright; orientations 5 to 8 swap width and height.
Picture Upright(Picture picture, int orientation);

}  // namespace softsplice
