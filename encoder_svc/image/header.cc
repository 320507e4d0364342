// The structure of PNG, JPEG, GIF and BMP files, as far as their size and completeness need it.
#include "encoder_svc/image/header.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <climits>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/orientation.h"

namespace softsplice {
namespace {

// Numbers at an offset; the caller has checked that they lie inside.
uint32_t Byte(absl::string_view b, size_t at) { return static_cast<uint8_t>(b[at]); }
uint32_t Be16(absl::string_view b, size_t at) { return Byte(b, at) << 8 | Byte(b, at + 1); }
uint32_t Be32(absl::string_view b, size_t at) { return Be16(b, at) << 16 | Be16(b, at + 2); }
uint32_t Le16(absl::string_view b, size_t at) { return Byte(b, at + 1) << 8 | Byte(b, at); }
uint32_t Le32(absl::string_view b, size_t at) { return Le16(b, at + 2) << 16 | Le16(b, at); }

absl::Status Truncated(ImageFormat format) {
  return InvalidMedia(absl::StrCat("the ", Name(format), " is truncated"));
}

absl::Status Corrupt(ImageFormat format, absl::string_view what) {
  return InvalidMedia(absl::StrCat("the ", Name(format), " can't be read: ", what));
}

absl::Status SetSize(ImageHeader& header, int64_t width, int64_t height,
                     const ImageLimits& limits) {
  const std::string size = absl::StrCat(width, " x ", height, " pixels");
  if (width <= 0 || height <= 0) return InvalidMedia(absl::StrCat("the picture is ", size));
  const auto w = static_cast<uint64_t>(width), h = static_cast<uint64_t>(height);
  if (w > kMaxImageSide || h > kMaxImageSide) {
    return OverLimit("data", absl::StrCat("the picture is ", size, "; the longest side allowed is ",
                                          kMaxImageSide, " pixels"));
  }
  if (w * h > limits.max_pixels) {
    return OverLimit("data", absl::StrCat("the picture is ", size, " (", w * h, "); at most ",
                                          limits.max_pixels, " pixels are allowed"));
  }
  header.width = static_cast<int>(width);
  header.height = static_cast<int>(height);
  return absl::OkStatus();
}

// One chunk of a PNG: [length 4] [type 4] [data] [CRC 4].
absl::Status CheckPngChunk(absl::string_view type, absl::string_view data, uint32_t crc) {
  const bool critical = (type[0] & 0x20) == 0;
  if (!critical) return absl::OkStatus();
  if (type != "IHDR" && type != "PLTE" && type != "IDAT" && type != "IEND") {
    return Corrupt(ImageFormat::kPng, "it has a critical chunk of an unknown kind");
  }
  // The type stands right in front of the data.
  const auto* covered = reinterpret_cast<const unsigned char*>(type.data());
  if (crc32_gzip_refl(0, covered, type.size() + data.size()) != crc) {
    return Corrupt(ImageFormat::kPng, absl::StrCat("the checksum of a chunk ", type, " is wrong"));
  }
  return absl::OkStatus();
}

uint64_t Pixels(const ImageHeader& header) {
  return static_cast<uint64_t>(header.width) * static_cast<uint64_t>(header.height);
}

// What stb_image takes for a PNG, from its header chunk's fields: the compressed data in a buffer
// that doubles; the inflated rows, which may be twice what the picture needs (some writers add
// more, and passes of interlaced pictures end in parts of bytes); the samples.
uint64_t PngDecoderBytes(absl::string_view b, const ImageHeader& header, bool transparent_value) {
  const uint64_t depth = Byte(b, 24), color = Byte(b, 25);
  const bool palette = color == 3, interlaced = Byte(b, 28) != 0;
  const uint64_t channels = palette ? 1 : ((color & 2) != 0 ? 3 : 1) + ((color & 4) != 0 ? 1 : 0);
  const uint64_t row = (static_cast<uint64_t>(header.width) * channels * depth + 7) / 8 + 1;
  const uint64_t inflated = row * static_cast<uint64_t>(header.height);
  const uint64_t samples =
      Pixels(header) * (channels + (transparent_value && !palette ? 1 : 0)) * (depth == 16 ? 2 : 1);
  return 2 * b.size() + 2 * inflated + samples + (interlaced ? samples / 2 : 0) +
         (palette ? 4 * Pixels(header) : 0);
}

absl::StatusOr<ImageHeader> ReadPng(absl::string_view b, const ImageLimits& limits) {
  constexpr ImageFormat kPng = ImageFormat::kPng;
  constexpr size_t kChunkOverhead = 12;
  ImageHeader header;
  if (b.size() < 24) return Truncated(kPng);
  if (b.substr(12, 4) != "IHDR" || Be32(b, 8) != 13) {
    return Corrupt(kPng, "it does not begin with a header chunk");
  }
  RETURN_IF_ERROR(SetSize(header, Be32(b, 16), Be32(b, 20), limits));
  bool has_data = false, transparent_value = false;
  absl::string_view exif;
  for (size_t at = 8;;) {
    if (b.size() - at < kChunkOverhead) return Truncated(kPng);
    const uint32_t length = Be32(b, at);
    if (length > b.size() - at - kChunkOverhead) return Truncated(kPng);
    const absl::string_view type = b.substr(at + 4, 4), data = b.substr(at + 8, length);
    RETURN_IF_ERROR(CheckPngChunk(type, data, Be32(b, at + 8 + length)));
    if (type == "IHDR" && at != 8) return Corrupt(kPng, "it has two header chunks");
    if (type == "IDAT") has_data = true;
    if (type == "tRNS") transparent_value = true;
    if (type == "eXIf") exif = data;
    if (type == "IEND") break;
    at += kChunkOverhead + length;
  }
  if (!has_data) return Corrupt(kPng, "it has no pixel data");
  header.orientation = ReadOrientation(exif);
  header.decoder_bytes = PngDecoderBytes(b, header, transparent_value);
  return header;
}

// What a JPEG's segments say besides the header's fields.
struct JpegFacts {
  absl::string_view exif;
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

// The segment of `marker` with the content `data` (without its length field).
absl::Status ReadJpegSegment(uint32_t marker, absl::string_view data, const ImageLimits& limits,
                             ImageHeader& header, JpegFacts& facts) {
  constexpr absl::string_view kExif("Exif\0\0", 6);
  const bool start_of_frame =
      marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
  if (start_of_frame) {
    if (data.size() < 6) return Truncated(ImageFormat::kJpeg);
    if (Byte(data, 0) != 8) {
      return Corrupt(ImageFormat::kJpeg, absl::StrCat("it has ", Byte(data, 0),
                                                      " bits a sample; only 8 are supported"));
    }
    header.cmyk = Byte(data, 5) == 4;
    facts.components = Byte(data, 5);
    facts.progressive = (marker & 3) == 2;
    return SetSize(header, Be16(data, 3), Be16(data, 1), limits);
  }
  if (marker == 0xE1 && facts.exif.empty() && data.substr(0, kExif.size()) == kExif) {
    facts.exif = data.substr(kExif.size());
  }
  if (marker == 0xDA) ++facts.scans;
  return absl::OkStatus();
}

absl::StatusOr<ImageHeader> ReadJpeg(absl::string_view b, const ImageLimits& limits) {
  constexpr ImageFormat kJpeg = ImageFormat::kJpeg;
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
  header.orientation = ReadOrientation(facts.exif);
  header.decoder_bytes = JpegDecoderBytes(header, facts) + (header.cmyk ? 4 * Pixels(header) : 0);
  return header;
}

absl::StatusOr<ImageHeader> ReadGif(absl::string_view b, const ImageLimits& limits) {
  constexpr ImageFormat kGif = ImageFormat::kGif;
  ImageHeader header;
  if (b.size() < 13) return Truncated(kGif);
  RETURN_IF_ERROR(SetSize(header, Le16(b, 6), Le16(b, 8), limits));
  const auto table_bytes = [](uint32_t flags) -> size_t {
    return (flags & 0x80) != 0 ? size_t{3} * (2u << (flags & 7)) : 0;
  };
  size_t at = 13 + table_bytes(Byte(b, 10));
  for (;;) {
    if (at + 2 > b.size()) return Truncated(kGif);
    const uint32_t tag = Byte(b, at);
    if (tag == 0x2C) {
      if (at + 11 > b.size()) return Truncated(kGif);
      at += 11 + table_bytes(Byte(b, at + 9));  // descriptor, colours, code size
    } else if (tag == 0x21) {
      at += 2;
    } else {
      return Corrupt(kGif, tag == 0x3B ? "it has no picture" : "unknown block");
    }
    // Sub-blocks: [length 1] [data] ... [0].
    for (uint32_t length = 1; length != 0; at += length + 1) {
      if (at >= b.size()) return Truncated(kGif);
      length = Byte(b, at);
    }
    if (tag == 0x2C) break;
  }
  // A copy of the file; the picture and the one before it with alpha, and which pixels changed.
  header.decoder_bytes = b.size() + 9 * Pixels(header);
  return header;
}

// What stb_image reads wrongly or not at all is refused by name.
absl::Status CheckBmpVariant(uint32_t header_bytes, uint32_t bits, uint32_t compression) {
  constexpr ImageFormat kBmp = ImageFormat::kBmp;
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    return Corrupt(kBmp, absl::StrCat(bits, " bits a pixel"));
  }
  if (compression == 1 || compression == 2) {
    return Corrupt(kBmp, "run-length compression is not supported");
  }
  const bool masks = compression == 3;
  if (compression > 3 || (masks && bits < 16) || (masks && bits == 24) ||
      (masks && header_bytes == 56)) {
    return Corrupt(kBmp, absl::StrCat("compression ", compression, " with ", bits,
                                      " bits a pixel is not supported"));
  }
  const bool known = header_bytes == 12 || header_bytes == 40 || header_bytes == 56 ||
                     header_bytes == 108 || header_bytes == 124;
  if (!known || (header_bytes == 12 && bits < 16)) {
    return Corrupt(kBmp, absl::StrCat("a header of ", header_bytes, " bytes with ", bits,
                                      " bits a pixel is not supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageHeader> ReadBmp(absl::string_view b, const ImageLimits& limits) {
  constexpr ImageFormat kBmp = ImageFormat::kBmp;
  ImageHeader header;
  if (b.size() < 26) return Truncated(kBmp);
  const uint32_t offset = Le32(b, 10), header_bytes = Le32(b, 14);
  const bool old = header_bytes == 12;
  if (!old && b.size() < 54) return Truncated(kBmp);
  const int64_t width = old ? Le16(b, 18) : static_cast<int32_t>(Le32(b, 18));
  const int64_t height = old ? Le16(b, 20) : std::abs(int64_t{static_cast<int32_t>(Le32(b, 22))});
  RETURN_IF_ERROR(SetSize(header, width, height, limits));
  const uint32_t bits = Le16(b, old ? 24 : 28), compression = old ? 0 : Le32(b, 30);
  RETURN_IF_ERROR(CheckBmpVariant(header_bytes, bits, compression));
  const uint32_t masks_bytes = compression == 3 && header_bytes == 40 ? 12 : 0;
  const uint32_t first = 14 + header_bytes + masks_bytes;
  if (offset < first || (bits < 16 && offset > first + 256 * 4)) {
    return Corrupt(kBmp, absl::StrCat("the pixels can't begin at byte ", offset));
  }
  const uint64_t row_bytes = (static_cast<uint64_t>(width) * bits + 31) / 32 * 4;
  if (offset + row_bytes * static_cast<uint64_t>(height) > b.size()) return Truncated(kBmp);
  header.ignore_alpha = compression != 3;
  header.decoder_bytes = 4 * Pixels(header);
  return header;
}

absl::StatusOr<ImageHeader> ReadFormat(absl::string_view bytes, ImageFormat format,
                                       const ImageLimits& limits) {
  switch (format) {
    case ImageFormat::kPng:
      return ReadPng(bytes, limits);
    case ImageFormat::kJpeg:
      return ReadJpeg(bytes, limits);
    case ImageFormat::kGif:
      return ReadGif(bytes, limits);
    case ImageFormat::kBmp:
      return ReadBmp(bytes, limits);
  }
  return absl::InternalError("unknown image format");
}

}  // namespace

absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view bytes, absl::string_view mime_type,
                                            const ImageLimits& limits) {
  if (bytes.size() > std::min<uint64_t>(limits.max_bytes, INT_MAX)) {
    return OverLimit("data", absl::StrCat("the picture has ", bytes.size(), " bytes; at most ",
                                          limits.max_bytes, " are allowed"));
  }
  ASSIGN_OR_RETURN(const ImageFormat format, FindImageFormat(bytes, mime_type));
  ASSIGN_OR_RETURN(ImageHeader header, ReadFormat(bytes, format, limits));
  header.format = format;
  // Even the smallest picture's decoder has buffers of some KiB.
  constexpr uint64_t kLeast = 64 << 10;
  header.decoder_bytes += kLeast;
  // Pixels next to the decoder's samples (up to four a pixel), then pixels next to turned ones.
  const uint64_t rgb = 3 * Pixels(header);
  const uint64_t samples = format == ImageFormat::kJpeg
                               ? header.decoder_bytes
                               : std::min(header.decoder_bytes, 4 * Pixels(header));
  header.decoding_bytes =
      std::max({header.decoder_bytes, rgb + samples, header.orientation == 1 ? rgb : 2 * rgb});
  return header;
}

}  // namespace softsplice
