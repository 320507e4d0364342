// See orientation.h.
#include "encoder_svc/image/orientation.h"

#include <libexif/exif-data.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/strip.h"

namespace softsplice {
namespace {

constexpr absl::string_view kExifPrefix("Exif\0\0", 6);

// What the tag says, whatever that is; nothing if there is no tag.
std::optional<int> ExifOrientation(absl::string_view tiff) {
  // Some writers put it there in formats that have no need of it, and some do so twice.
  for (int i = 0; i < 2; ++i) absl::ConsumePrefix(&tiff, kExifPrefix);
  if (tiff.empty()) return std::nullopt;
  std::string block(kExifPrefix);  // libexif wants it
  block.append(tiff.data(), tiff.size());
  const std::unique_ptr<ExifData, decltype(&exif_data_unref)> data(
      exif_data_new_from_data(reinterpret_cast<const unsigned char*>(block.data()),
                              static_cast<unsigned int>(block.size())),
      exif_data_unref);
  if (data == nullptr) return std::nullopt;
  const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  if (entry == nullptr) return std::nullopt;
  if (entry->format != EXIF_FORMAT_SHORT || entry->size < 2) return 1;
  return exif_get_short(entry->data, exif_data_get_byte_order(data.get()));
}

// The bytes behind the three lines in front of the digits; none if these are not digits.
std::string RawProfileBytes(absl::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  std::string digits;
  for (const char c : text) {
    if (absl::ascii_isspace(static_cast<unsigned char>(c))) continue;
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return "";
    digits.push_back(c);
  }
  return digits.size() % 2 == 0 ? absl::HexStringToBytes(digits) : "";
}

// tiff:Orientation="6" or <tiff:Orientation>6<, wherever it stands first.
std::optional<int> XmpOrientation(absl::string_view xmp) {
  constexpr absl::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != absl::string_view::npos; at = xmp.find(kName, at)) {
    at += kName.size();
    absl::string_view rest = xmp.substr(at);
    if (!absl::ConsumePrefix(&rest, "=\"") && !absl::ConsumePrefix(&rest, ">")) continue;
    if (!rest.empty() && absl::ascii_isdigit(static_cast<unsigned char>(rest[0]))) {
      return rest[0] - '0';
    }
  }
  return std::nullopt;
}

std::pair<double, double> Flipped(double begin, double end, int size) {
  return {size - end, size - begin};
}

}  // namespace

int ReadOrientation(const OrientationTags& tags) {
  std::optional<int> found = tags.exif.empty() ? ExifOrientation(RawProfileBytes(tags.raw_profile))
                                               : ExifOrientation(tags.exif);
  if (!found) found = XmpOrientation(tags.xmp);
  return found && *found >= 1 && *found <= 8 ? *found : 1;
}

Picture Upright(Picture picture, int orientation) {
  if (orientation <= 1 || orientation > 8) return picture;
  const bool swap = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Picture upright(swap ? picture.height : picture.width, swap ? picture.width : picture.height);
  if (flip_x)
    std::tie(picture.left, picture.right) = Flipped(picture.left, picture.right, picture.width);
  if (flip_y)
    std::tie(picture.top, picture.bottom) = Flipped(picture.top, picture.bottom, picture.height);
  upright.left = swap ? picture.top : picture.left;
  upright.top = swap ? picture.left : picture.top;
  upright.right = swap ? picture.bottom : picture.right;
  upright.bottom = swap ? picture.right : picture.bottom;
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
