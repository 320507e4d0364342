// PNG, by libpng: a row at a time, so that data which inflate to more than the header says are
// never held.
#include <isa-l/crc.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/alpha.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/orientation.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kPng = ImageFormat::kPng;

// One chunk: [length 4] [type 4] [data] [CRC 4].
absl::Status CheckChunk(absl::string_view type, absl::string_view data, uint32_t crc) {
  const bool critical = (type[0] & 0x20) == 0;
  if (!critical) return absl::OkStatus();
  if (type != "IHDR" && type != "PLTE" && type != "IDAT" && type != "IEND") {
    return Corrupt(kPng, "it has a critical chunk of an unknown kind");
  }
  // The type stands right in front of the data.
  const auto* covered = reinterpret_cast<const unsigned char*>(type.data());
  if (crc32_gzip_refl(0, covered, type.size() + data.size()) != crc) {
    return Corrupt(kPng, absl::StrCat("the checksum of a chunk ", type, " is wrong"));
  }
  return absl::OkStatus();
}

// A text that was compressed with zlib; empty if it is corrupt or longer than any that we look for.
std::string Inflated(absl::string_view data) {
  std::string text(1 << 20, '\0');
  uLongf size = text.size();
  const int result = uncompress(reinterpret_cast<Bytef*>(text.data()), &size,
                                reinterpret_cast<const Bytef*>(data.data()), data.size());
  text.resize(result == Z_OK ? size : 0);
  return text;
}

// A chunk of text, behind its keyword: still compressed, or as it is.
struct Text {
  absl::string_view data;
  bool compressed = false;

  std::string Read() const { return compressed ? Inflated(data) : std::string(data); }
};

// The last chunks that say which way is up: the last of a kind is the one that counts.
struct Tags {
  absl::string_view exif;
  Text raw_profile;
  Text xmp;
};

// `data` up to the next zero byte, which it loses together with that.
absl::string_view TakeWord(absl::string_view& data) {
  const absl::string_view word = data.substr(0, data.find('\0'));
  data.remove_prefix(std::min(data.size(), word.size() + 1));
  return word;
}

void NoteTags(absl::string_view type, absl::string_view data, Tags& tags) {
  if (type == "eXIf") tags.exif = data;
  if (type != "tEXt" && type != "zTXt" && type != "iTXt") return;
  const absl::string_view keyword = TakeWord(data);
  Text* text = keyword == "Raw profile type exif" ? &tags.raw_profile
               : keyword == "XML:com.adobe.xmp"   ? &tags.xmp
                                                  : nullptr;
  if (text == nullptr) return;
  bool compressed = type == "zTXt";
  if (type == "iTXt") {
    if (data.size() < 2) return;
    compressed = data[0] != 0;
    data.remove_prefix(1);
  }
  if (type != "tEXt") {
    if (data.empty() || (compressed && data[0] != 0)) return;  // no other method is known
    data.remove_prefix(1);
  }
  if (type == "iTXt") {
    TakeWord(data);  // language
    TakeWord(data);  // the keyword in it
  }
  *text = {data, compressed};
}

int Orientation(const Tags& tags) {
  const std::string raw_profile = tags.raw_profile.Read(), xmp = tags.xmp.Read();
  return ReadOrientation({.exif = tags.exif, .raw_profile = raw_profile, .xmp = xmp});
}

// Samples of four channels, where there may be transparency, beside libpng's own rows and windows.
uint64_t DecoderBytes(absl::string_view b, const ImageHeader& header, bool transparent) {
  constexpr uint64_t kWindows = 128 << 10;
  const bool alpha = transparent || (Byte(b, 25) & 4) != 0;
  constexpr uint64_t kRowBytes = 4 * 8;  // up to four of 16 bits times four a pixel
  return kWindows + kRowBytes * static_cast<uint64_t>(header.width) +
         (alpha ? 4 * Pixels(header) : 0);
}

}  // namespace

absl::StatusOr<ImageHeader> ReadPng(absl::string_view b, const ImageLimits& limits) {
  constexpr size_t kChunkOverhead = 12;
  ImageHeader header;
  if (b.size() < 24) return Truncated(kPng);
  if (b.substr(12, 4) != "IHDR" || Be32(b, 8) != 13) {
    return Corrupt(kPng, "it does not begin with a header chunk");
  }
  RETURN_IF_ERROR(SetSize(header, Be32(b, 16), Be32(b, 20), limits));
  bool has_data = false, transparent = false;
  Tags tags;
  for (size_t at = 8;;) {
    // What comes after the pixels may be missing; if some of them are, the decoder will tell.
    const bool cut = b.size() - at < kChunkOverhead || Be32(b, at) > b.size() - at - kChunkOverhead;
    const absl::string_view type = b.substr(at, 8).substr(std::min<size_t>(4, b.size() - at));
    if (cut && has_data && type != "IDAT") break;
    if (cut) return Truncated(kPng);
    const uint32_t length = Be32(b, at);
    const absl::string_view data = b.substr(at + 8, length);
    RETURN_IF_ERROR(CheckChunk(type, data, Be32(b, at + 8 + length)));
    if (type == "IHDR" && at != 8) return Corrupt(kPng, "it has two header chunks");
    if (type == "IDAT") has_data = true;
    if (type == "tRNS") transparent = true;
    NoteTags(type, data, tags);
    if (type == "IEND") break;
    at += kChunkOverhead + length;
  }
  if (!has_data) return Corrupt(kPng, "it has no pixel data");
  header.orientation = Orientation(tags);
  header.decoder_bytes = DecoderBytes(b, header, transparent);
  return header;
}

namespace {

// What libpng's callbacks see. All that lives between setjmp and longjmp is here or in the caller.
struct Reading {
  absl::string_view left;
  char error[128] = "";
};

void Read(png_structp png, png_bytep to, size_t bytes) {
  auto& reading = *static_cast<Reading*>(png_get_io_ptr(png));
  if (bytes > reading.left.size()) png_error(png, "its pixels are not all there");
  std::memcpy(to, reading.left.data(), bytes);
  reading.left.remove_prefix(bytes);
}

[[noreturn]] void Fail(png_structp png, png_const_charp message) {
  auto& reading = *static_cast<Reading*>(png_get_error_ptr(png));
  std::strncpy(reading.error, message, sizeof(reading.error) - 1);
  png_longjmp(png, 1);
}

void Ignore(png_structp /*png*/, png_const_charp /*warning*/) {}

// libpng's two structures.
struct Decoder {
  explicit Decoder(Reading* reading)
      : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, reading, Fail, Ignore)),
        info(png == nullptr ? nullptr : png_create_info_struct(png)) {}
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }

  png_structp png;
  png_infop info;
};

// Reads up to the pixels and asks for 8 bits of RGB or RGBA; how many channels that are, 0 if it
// can't be read.
int Prepare(png_structp png, png_infop info, Reading* reading) {
  if (setjmp(png_jmpbuf(png)) != 0) return 0;
  png_set_read_fn(png, reading, Read);
  png_set_benign_errors(png, 1);
  png_set_user_limits(png, kMaxImageSide, kMaxImageSide);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // but what pixels need
  png_read_info(png, info);
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return png_get_channels(png, info);
}

bool ReadRows(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_read_image(png, rows);
  return true;
}

absl::Status Failure(const Reading& reading) {
  const std::string message = absl::StrCat("the picture can't be decoded: ", reading.error);
  return std::strcmp(reading.error, "Out of memory") == 0 ? OutOfMemory(message)
                                                          : InvalidMedia(message);
}

}  // namespace

absl::StatusOr<Picture> DecodePng(absl::string_view bytes, const ImageHeader& header) {
  Reading reading{.left = bytes};
  Decoder decoder(&reading);
  if (decoder.info == nullptr) return OutOfMemory("no memory for a PNG decoder");
  const int channels = Prepare(decoder.png, decoder.info, &reading);
  if (channels == 0) return Failure(reading);
  Picture picture(header.width, header.height);
  const size_t width = static_cast<size_t>(header.width);
  std::vector<uint8_t> rgba;
  if (channels == 4) rgba.resize(4 * width * static_cast<size_t>(header.height));
  std::vector<png_bytep> rows(static_cast<size_t>(header.height));
  for (size_t y = 0; y < rows.size(); ++y) {
    rows[y] = channels == 4 ? rgba.data() + 4 * width * y : picture.Row(static_cast<int>(y));
  }
  if (!ReadRows(decoder.png, rows.data())) return Failure(reading);
  if (channels == 4) LayOverWhite(rgba.data(), 4 * width, picture);
  return picture;
}

}  // namespace softsplice
