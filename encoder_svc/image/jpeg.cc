// JPEG, by libjpeg-turbo, which gives the reference's pixels bit for bit. A picture of more pixels
// than are allowed is decoded at a half, a quarter or an eighth.
#include <turbojpeg.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/orientation.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kJpeg = ImageFormat::kJpeg;

// What a JPEG's segments say besides the header's fields.
struct JpegFacts {
  OrientationTags tags;
  uint64_t components = 0;
  bool progressive = false;
  int scans = 0;
};

// What libjpeg takes besides the pixels: coefficients of 16 bits of the whole picture, in blocks of
// up to 32 pixels, where several scans make them up.
uint64_t JpegDecoderBytes(const ImageHeader& header, const JpegFacts& facts) {
  constexpr uint64_t kRows = 64;  // in work at a time otherwise
  const uint64_t width = static_cast<uint64_t>(header.width) + 32;
  const uint64_t height = static_cast<uint64_t>(header.height) + 32;
  const bool whole = facts.progressive || facts.scans > 1;
  return 2 * facts.components * width * (whole ? height : kRows);
}

// A picture of too many pixels is decoded at a fraction of its size.
absl::Status SetJpegSize(ImageHeader& header, uint64_t width, uint64_t height, ImageLimits limits) {
  constexpr int kMostShrink = 8;
  header.shrink = 1;
  while (width * height > limits.max_pixels && header.shrink < kMostShrink) {
    header.shrink *= 2;
    limits.max_pixels *= 4;
  }
  return SetSize(header, static_cast<int64_t>(width), static_cast<int64_t>(height), limits);
}

// The segment of `marker` with the content `data` (without its length field).
absl::Status ReadJpegSegment(uint32_t marker, absl::string_view data, const ImageLimits& limits,
                             ImageHeader& header, JpegFacts& facts) {
  constexpr absl::string_view kExif("Exif\0\0", 6), kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
  const bool start_of_frame =
      marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
  if (start_of_frame) {
    if (data.size() < 6) return Truncated(kJpeg);
    if (Byte(data, 0) != 8) {
      return Corrupt(
          kJpeg, absl::StrCat("it has ", Byte(data, 0), " bits a sample; only 8 are supported"));
    }
    header.cmyk = Byte(data, 5) == 4;
    facts.components = Byte(data, 5);
    facts.progressive = (marker & 3) == 2;
    return SetJpegSize(header, Be16(data, 3), Be16(data, 1), limits);
  }
  if (marker == 0xE1 && facts.tags.exif.empty() && absl::StartsWith(data, kExif)) {
    facts.tags.exif = data.substr(kExif.size());
  }
  if (marker == 0xE1 && absl::StartsWith(data, kXmp)) facts.tags.xmp = data.substr(kXmp.size());
  if (marker == 0xDA) ++facts.scans;
  return absl::OkStatus();
}

// a * b / 255, rounded, as Pillow's MULDIV255.
uint32_t MulDiv255(uint32_t a, uint32_t b) {
  const uint32_t t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

// Adobe's convention, as in Pillow: CMYK in a JPEG is stored inverted.
void InvertedCmykToRgb(const uint8_t* from, Picture& to) {
  for (size_t i = 0; i < to.rgb.size(); i += 3, from += 4) {
    const uint32_t k = from[3];
    for (size_t c = 0; c < 3; ++c) {
      to.rgb[i + c] = static_cast<uint8_t>(k - MulDiv255(255u - from[c], k));
    }
  }
}

}  // namespace

absl::StatusOr<ImageHeader> ReadJpeg(absl::string_view b, const ImageLimits& limits) {
  ImageHeader header;
  JpegFacts facts;
  for (size_t at = 2;;) {
    // Also passes over the coded data of a scan: 0xFF is followed by 0 or a restart marker there.
    at = b.find('\xff', at);
    while (at < b.size() && Byte(b, at) == 0xFF) ++at;
    if (at >= b.size()) return Truncated(kJpeg);
    const uint32_t marker = Byte(b, at++);
    if (marker == 0xD9) break;
    if (marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;
    if (b.size() - at < 2) return Truncated(kJpeg);
    const uint32_t length = Be16(b, at);
    if (length < 2) return Corrupt(kJpeg, "a segment has a wrong length");
    // Before the length is checked: the size of a picture that is cut off here is still told.
    const absl::string_view data = b.substr(at, length).substr(2);
    RETURN_IF_ERROR(ReadJpegSegment(marker, data, limits, header, facts));
    if (length > b.size() - at) return Truncated(kJpeg);
    at += length;
  }
  if (header.width == 0 || facts.scans == 0) return Corrupt(kJpeg, "it has no pixel data");
  header.orientation = ReadOrientation(facts.tags);
  header.decoder_bytes = JpegDecoderBytes(header, facts) + (header.cmyk ? 4 * Pixels(header) : 0);
  return header;
}

absl::StatusOr<Picture> DecodeJpeg(absl::string_view bytes, const ImageHeader& header) {
  const std::unique_ptr<void, decltype(&tjDestroy)> decoder(tjInitDecompress(), tjDestroy);
  if (decoder == nullptr) return OutOfMemory("no memory for a JPEG decoder");
  Picture picture(header.DecodedWidth(), header.DecodedHeight());
  std::vector<uint8_t> cmyk;
  if (header.cmyk) cmyk.resize(picture.rgb.size() / 3 * 4);
  const int result =
      tjDecompress2(decoder.get(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), header.cmyk ? cmyk.data() : picture.rgb.data(), picture.width, 0,
                    picture.height, header.cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS);
  // A warning is damage that libjpeg got over; Pillow takes such pictures too.
  if (result != 0 && tjGetErrorCode(decoder.get()) != TJERR_WARNING) {
    const std::string message =
        absl::StrCat("the picture can't be decoded: ", tjGetErrorStr2(decoder.get()));
    return absl::StrContains(message, "Insufficient memory") ? OutOfMemory(message)
                                                             : InvalidMedia(message);
  }
  if (header.cmyk) InvertedCmykToRgb(cmyk.data(), picture);
  picture.right = static_cast<double>(header.width) / header.shrink;
  picture.bottom = static_cast<double>(header.height) / header.shrink;
  return picture;
}

}  // namespace softsplice
