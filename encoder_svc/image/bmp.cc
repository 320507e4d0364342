// BMP without compression. Not by stb_image, which takes bytes between the header and the pixels
// for an error, indices beyond the colours for any colour, and alpha for none where it is 0
// everywhere: to rewrite files so that it reads them takes more than to read them.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "encoder_svc/image/alpha.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kBmp = ImageFormat::kBmp;
constexpr size_t kFileHeader = 14, kOldHeader = 12;

using Masks = std::array<uint32_t, 4>;  // of red, green, blue and alpha

// What the headers say.
struct Layout {
  int64_t width = 0;
  int64_t height = 0;  // negative: rows from the top
  uint32_t header_bytes = 0;
  uint32_t bits = 0;  // a pixel
  Masks masks{};      // from 16 bits on, but for 24
  size_t colours_at = 0;
  size_t colours = 0;
  size_t pixels_at = 0;
  size_t row_bytes = 0;

  size_t ColourBytes() const { return header_bytes == kOldHeader ? 3 : 4; }
};

absl::Status CheckVariant(uint32_t header_bytes, uint32_t bits, uint32_t compression) {
  constexpr uint32_t kHeaders[] = {kOldHeader, 40, 52, 56, 64, 108, 124};
  if (std::find(std::begin(kHeaders), std::end(kHeaders), header_bytes) == std::end(kHeaders)) {
    return Corrupt(kBmp, absl::StrCat("a header of ", header_bytes, " bytes is not supported"));
  }
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    return Corrupt(kBmp, absl::StrCat(bits, " bits a pixel are not supported"));
  }
  if (compression == 1 || compression == 2) {
    return Corrupt(kBmp, "run-length compression is not supported");
  }
  if (compression != 0 && (compression != 3 || bits < 16)) {
    return Corrupt(kBmp, absl::StrCat("compression ", compression, " with ", bits,
                                      " bits a pixel is not supported"));
  }
  return absl::OkStatus();
}

// Masks lie in the header, or behind one that has no room for them.
absl::Status ReadMasks(absl::string_view b, uint32_t compression, Layout& layout) {
  layout.masks =
      layout.bits == 16 ? Masks{0x7c00, 0x3e0, 0x1f, 0} : Masks{0xff0000, 0xff00, 0xff, 0};
  if (compression != 3 || layout.bits == 24) return absl::OkStatus();
  constexpr size_t kMasksAt = kFileHeader + 40;
  const size_t count = layout.header_bytes >= 56 ? 4 : 3;
  if (b.size() < kMasksAt + 4 * count) return Truncated(kBmp);
  Masks masks{};
  for (size_t i = 0; i < count; ++i) masks[i] = Le32(b, kMasksAt + 4 * i);
  if (layout.header_bytes == 40) layout.colours_at += 4 * count;
  if (masks == Masks{}) masks = {0xff0000, 0xff00, 0xff, 0xff000000};  // as Pillow
  if (layout.bits == 16) masks[3] = 0;                                 // as Pillow
  layout.masks = masks;
  return absl::OkStatus();
}

// Where the pixels begin, which may be behind a gap. Some writers say where the colours do.
size_t PixelsAt(uint32_t stated, const Layout& layout) {
  const size_t first = layout.colours_at + layout.colours * layout.ColourBytes();
  return stated == 0 || (stated == kFileHeader + layout.header_bytes && layout.bits <= 8) ? first
                                                                                          : stated;
}

absl::StatusOr<Layout> ReadLayout(absl::string_view b) {
  Layout layout;
  if (b.size() < 26) return Truncated(kBmp);
  layout.header_bytes = Le32(b, 14);
  const bool old = layout.header_bytes == kOldHeader;
  if (!old && b.size() < 54) return Truncated(kBmp);
  layout.width = static_cast<int32_t>(old ? Le16(b, 18) : Le32(b, 18));
  layout.height = static_cast<int32_t>(old ? Le16(b, 20) : Le32(b, 22));
  layout.bits = Le16(b, old ? 24 : 28);
  const uint32_t compression = old ? 0 : Le32(b, 30);
  RETURN_IF_ERROR(CheckVariant(layout.header_bytes, layout.bits, compression));
  layout.colours_at = kFileHeader + layout.header_bytes;
  RETURN_IF_ERROR(ReadMasks(b, compression, layout));
  const size_t most = layout.bits <= 8 ? size_t{1} << layout.bits : 0;
  const uint32_t stated = old ? 0 : Le32(b, 46);
  layout.colours = stated == 0 ? most : std::min<size_t>(stated, most);
  layout.pixels_at = PixelsAt(Le32(b, 10), layout);
  if (layout.pixels_at < layout.colours_at) {
    return Corrupt(kBmp, absl::StrCat("the pixels can't begin at byte ", layout.pixels_at));
  }
  layout.colours =
      std::min(layout.colours, (layout.pixels_at - layout.colours_at) / layout.ColourBytes());
  layout.row_bytes = (static_cast<uint64_t>(layout.width) * layout.bits + 31) / 32 * 4;
  return layout;
}

// One channel of pixels with masks, to 8 bits as Pillow does it.
class Channel {
 public:
  explicit Channel(uint32_t mask)
      : mask_(mask), shift_(std::countr_zero(mask)), most_(mask == 0 ? 0 : mask >> shift_) {}

  bool there() const { return mask_ != 0; }
  uint8_t Of(uint32_t pixel) const {
    if (mask_ == 0) return 0;
    return static_cast<uint8_t>(uint64_t{(pixel & mask_) >> shift_} * 255 / most_);
  }

 private:
  uint32_t mask_;
  int shift_;
  uint32_t most_;
};

// Up to 8 bits a pixel, the first one in the highest bits. Colours that aren't there are black.
void UnpackIndices(absl::string_view b, const Layout& layout, absl::string_view row, uint8_t* out) {
  const uint32_t bits = layout.bits, mask = (1u << bits) - 1;
  for (size_t x = 0; x < static_cast<size_t>(layout.width); ++x, out += 3) {
    const size_t bit = x * bits;
    const uint32_t index = Byte(row, bit / 8) >> (8 - bits - bit % 8) & mask;
    const size_t at = layout.colours_at + index * layout.ColourBytes();
    for (size_t c = 0; c < 3; ++c) {
      out[c] = index < layout.colours ? static_cast<uint8_t>(b[at + 2 - c]) : 0;
    }
  }
}

void UnpackBgr(absl::string_view row, uint8_t* out) {
  for (size_t at = 0; at + 3 <= row.size(); at += 3, out += 3) {
    for (size_t c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(row[at + 2 - c]);
  }
}

// 16 or 32 bits a pixel, to RGBA.
void UnpackMasked(absl::string_view row, const Layout& layout, uint8_t* out) {
  const std::array<Channel, 4> channels = {Channel(layout.masks[0]), Channel(layout.masks[1]),
                                           Channel(layout.masks[2]), Channel(layout.masks[3])};
  const size_t bytes = layout.bits / 8;
  for (size_t at = 0; at + bytes <= row.size(); at += bytes, out += 4) {
    const uint32_t pixel = bytes == 2 ? Le16(row, at) : Le32(row, at);
    for (size_t c = 0; c < 3; ++c) out[c] = channels[c].Of(pixel);
    out[3] = channels[3].there() ? channels[3].Of(pixel) : 255;
  }
}

}  // namespace

absl::StatusOr<ImageHeader> ReadBmp(absl::string_view b, const ImageLimits& limits) {
  ImageHeader header;
  ASSIGN_OR_RETURN(const Layout layout, ReadLayout(b));
  RETURN_IF_ERROR(SetSize(header, layout.width, std::abs(layout.height), limits));
  const uint64_t pixels = layout.row_bytes * static_cast<uint64_t>(header.height);
  if (layout.pixels_at > b.size() || pixels > b.size() - layout.pixels_at) return Truncated(kBmp);
  header.decoder_bytes = 4 * static_cast<uint64_t>(header.width);
  return header;
}

absl::StatusOr<Picture> DecodeBmp(absl::string_view bytes, const ImageHeader& header) {
  ASSIGN_OR_RETURN(const Layout layout, ReadLayout(bytes));
  Picture picture(header.width, header.height), line(header.width, 1);
  std::vector<uint8_t> rgba(4 * static_cast<size_t>(header.width));
  for (int i = 0; i < header.height; ++i) {
    const absl::string_view row = bytes.substr(
        layout.pixels_at + static_cast<size_t>(i) * layout.row_bytes, layout.row_bytes);
    uint8_t* out = picture.Row(layout.height < 0 ? i : header.height - 1 - i);
    if (layout.bits <= 8) {
      UnpackIndices(bytes, layout, row, out);
    } else if (layout.bits == 24) {
      UnpackBgr(row.substr(0, picture.Stride()), out);
    } else {
      UnpackMasked(row.substr(0, rgba.size() / 4 * layout.bits / 8), layout, rgba.data());
      LayOverWhite(rgba.data(), rgba.size(), line);
      std::copy(line.rgb.begin(), line.rgb.end(), out);
    }
  }
  return picture;
}

}  // namespace softsplice
