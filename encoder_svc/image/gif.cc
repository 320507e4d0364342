// GIF, the first frame, by stb_image, which gets that frame alone, with 256 colours, on a canvas
// that it fits: what it does with others is not what the reference does.
#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/alpha.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/stb.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kGif = ImageFormat::kGif;
constexpr size_t kScreenBytes = 13, kDescriptorBytes = 10;
constexpr size_t kColoursBytes = 256 * 3;

// The parts of a file up to the first frame's end.
struct Frame {
  absl::string_view colours;     // three bytes each; none: greys
  absl::string_view control;     // the last graphic control extension before it
  absl::string_view descriptor;  // place, size and flags
  absl::string_view data;        // code size and blocks

  bool transparent() const { return !control.empty() && (Byte(control, 3) & 1) != 0; }
};

size_t ColourBytes(uint32_t flags) {
  return (flags & 0x80) != 0 ? size_t{3} * (2u << (flags & 7)) : 0;
}

// Where the blocks end that begin at `at`: [length 1] [data] ... [0]. Nothing if they don't.
std::optional<size_t> EndOfBlocks(absl::string_view b, size_t at) {
  for (uint32_t length = 1; length != 0; at += length + 1) {
    if (at >= b.size()) return std::nullopt;
    length = Byte(b, at);
  }
  return at;
}

absl::StatusOr<Frame> FindFrame(absl::string_view b) {
  constexpr size_t kControlBytes = 8;
  Frame frame;
  if (b.size() < kScreenBytes) return Truncated(kGif);
  frame.colours = b.substr(kScreenBytes, ColourBytes(Byte(b, 10)));
  for (size_t at = kScreenBytes + ColourBytes(Byte(b, 10));;) {
    if (at + 2 > b.size()) return Truncated(kGif);
    const uint32_t tag = Byte(b, at);
    if (tag == 0x3B) return Corrupt(kGif, "it has no picture");
    if (tag != 0x2C && tag != 0x21) return Corrupt(kGif, "unknown block");
    size_t blocks = at + 2;
    if (tag == 0x2C) {
      if (at + kDescriptorBytes + 1 > b.size()) return Truncated(kGif);
      frame.descriptor = b.substr(at, kDescriptorBytes);
      const size_t own = ColourBytes(Byte(b, at + 9));
      if (own != 0) frame.colours = b.substr(at + kDescriptorBytes, own);
      blocks = at + kDescriptorBytes + own + 1;
    }
    const std::optional<size_t> end = EndOfBlocks(b, blocks);
    if (!end) return Truncated(kGif);
    if (tag == 0x2C) {
      frame.data = b.substr(blocks - 1, *end - blocks + 1);
      return frame;
    }
    if (Byte(b, at + 1) == 0xF9 && *end - at == kControlBytes)
      frame.control = b.substr(at, *end - at);
    at = *end;
  }
}

// 256 colours: those beyond the file's are black.
std::string Colours(const Frame& frame) {
  std::string colours(frame.colours);
  for (int i = 0; colours.empty() || (frame.colours.empty() && i < 256); ++i) {
    colours.append(3, static_cast<char>(i));
  }
  colours.resize(kColoursBytes);
  return colours;
}

void PutLe16(int value, char* to) {
  to[0] = static_cast<char>(value & 0xff);
  to[1] = static_cast<char>(value >> 8);
}

std::string Rewritten(const Frame& frame, const std::string& colours, const ImageHeader& header) {
  constexpr char kAllColours = '\xf7';
  std::string screen("GIF89a\0\0\0\0\0\0\0", kScreenBytes);
  PutLe16(header.width, &screen[6]);
  PutLe16(header.height, &screen[8]);
  screen[10] = kAllColours;
  std::string descriptor(frame.descriptor);
  descriptor[9] = static_cast<char>(descriptor[9] & 0x40);  // interlaced or not, no colours
  return absl::StrCat(screen, colours, frame.control, descriptor, frame.data, ";");
}

}  // namespace

absl::StatusOr<ImageHeader> ReadGif(absl::string_view b, const ImageLimits& limits) {
  ImageHeader header;
  if (b.size() < kScreenBytes) return Truncated(kGif);
  const uint32_t width = Le16(b, 6), height = Le16(b, 8);
  if (width != 0 && height != 0) RETURN_IF_ERROR(SetSize(header, width, height, limits));
  ASSIGN_OR_RETURN(const Frame frame, FindFrame(b));
  // The canvas is as large as its first frame needs, as in the reference.
  const auto end = [&frame](size_t at) {
    return Le16(frame.descriptor, at) + Le16(frame.descriptor, at + 4);
  };
  RETURN_IF_ERROR(SetSize(header, std::max(width, end(1)), std::max(height, end(3)), limits));
  // The frame's copy; the picture and the one before it with alpha, and which pixels changed.
  header.decoder_bytes = frame.data.size() + 9 * Pixels(header);
  return header;
}

absl::StatusOr<Picture> DecodeGif(absl::string_view bytes, const ImageHeader& header) {
  ASSIGN_OR_RETURN(const Frame frame, FindFrame(bytes));
  const std::string colours = Colours(frame);
  ASSIGN_OR_RETURN(const StbImage image,
                   StbDecode(Rewritten(frame, colours, header), header.decoder_bytes));
  if (image.width != header.width || image.height != header.height) {
    return InvalidMedia("the picture's headers contradict each other");
  }
  Picture picture(image.width, image.height);
  LayOverWhite(image.rgba.get(), 4 * static_cast<size_t>(image.width), picture);
  if (frame.transparent()) return picture;
  // Pixels that no frame covers have the first colour then, as in the reference.
  const uint8_t* rgba = image.rgba.get();
  for (size_t i = 0; i < picture.rgb.size(); i += 3, rgba += 4) {
    if (rgba[3] == 0)
      std::copy_n(colours.begin(), 3, picture.rgb.begin() + static_cast<ptrdiff_t>(i));
  }
  return picture;
}

}  // namespace softsplice
