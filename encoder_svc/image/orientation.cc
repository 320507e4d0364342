// See orientation.h.
#include "encoder_svc/image/orientation.h"

#include <libexif/exif-data.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace softsplice {

int ReadOrientation(absl::string_view exif) {
  if (exif.empty()) return 1;
  std::string block("Exif\0\0", 6);  // what libexif wants in front of the TIFF block
  block.append(exif.data(), exif.size());
  const std::unique_ptr<ExifData, decltype(&exif_data_unref)> data(
      exif_data_new_from_data(reinterpret_cast<const unsigned char*>(block.data()),
                              static_cast<unsigned int>(block.size())),
      exif_data_unref);
  if (data == nullptr) return 1;
  const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  if (entry == nullptr || entry->format != EXIF_FORMAT_SHORT || entry->size < 2) return 1;
  const int value = exif_get_short(entry->data, exif_data_get_byte_order(data.get()));
  return value >= 1 && value <= 8 ? value : 1;
}

Picture Upright(Picture picture, int orientation) {
  if (orientation <= 1 || orientation > 8) return picture;
  const bool swap = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Picture upright(swap ? picture.height : picture.width, swap ? picture.width : picture.height);
  for (int y = 0; y < upright.height; ++y) {
    uint8_t* out = upright.Row(y);
    for (int x = 0; x < upright.width; ++x, out += 3) {
      int from_x = swap ? y : x;
      int from_y = swap ? x : y;
      if (flip_x) from_x = picture.width - 1 - from_x;
      if (flip_y) from_y = picture.height - 1 - from_y;
      std::memcpy(out, picture.Row(from_y) + size_t{3} * static_cast<size_t>(from_x), 3);
    }
  }
  return upright;
}

}  // namespace softsplice
