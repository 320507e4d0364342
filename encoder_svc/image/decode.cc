// Pixels: JPEG by libjpeg-turbo (bit-equal to the reference), all others by stb_image.
#include "encoder_svc/image/decode.h"

#include <turbojpeg.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/orientation.h"
#include "encoder_svc/image/stb.h"

namespace softsplice {
namespace {

// a * b / 255, rounded, as Pillow's MULDIV255.
uint32_t MulDiv255(uint32_t a, uint32_t b) {
  const uint32_t t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

// Pillow's alpha_composite onto opaque white (AlphaComposite.c, 7 bits of extra precision).
uint8_t OverWhite(uint32_t value, uint32_t alpha) {
  const uint32_t t = 128 * (value * alpha + 255 * (255 - alpha)) + (128 << 7);
  return static_cast<uint8_t>((((t >> 8) + t) >> 8) >> 7);
}

// `channels` interleaved: grey, grey and alpha, RGB, RGBA.
void ToRgb(const uint8_t* from, int channels, Picture& to) {
  const size_t pixels = to.rgb.size() / 3;
  const size_t step = static_cast<size_t>(channels);
  const bool alpha = channels == 2 || channels == 4;
  const bool grey = channels <= 2;
  if (channels == 3) {
    std::copy_n(from, 3 * pixels, to.rgb.data());
    return;
  }
  uint8_t* out = to.rgb.data();
  for (size_t i = 0; i < pixels; ++i, from += step, out += 3) {
    for (size_t c = 0; c < 3; ++c) {
      const uint8_t value = grey ? from[0] : from[c];
      out[c] = alpha ? OverWhite(value, from[step - 1]) : value;
    }
  }
}

// PNG, GIF and BMP.
absl::StatusOr<Picture> DecodeWithStb(absl::string_view bytes, const ImageHeader& header) {
  std::string copy;
  if (header.format == ImageFormat::kGif) {
    // Pixels that the first frame leaves out stay transparent, as browsers show them; stb_image
    // would fill in the background colour.
    constexpr size_t kBackgroundIndex = 11;
    copy = std::string(bytes);
    copy[kBackgroundIndex] = 0;
    bytes = copy;
  }
  ASSIGN_OR_RETURN(const StbImage image,
                   StbDecode(bytes, header.ignore_alpha ? 3 : 0, header.decoder_bytes));
  if (image.width != header.width || image.height != header.height) {
    return InvalidMedia("the picture's headers contradict each other");
  }
  Picture picture(image.width, image.height);
  ToRgb(image.pixels.get(), image.channels, picture);
  return picture;
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

absl::StatusOr<Picture> DecodeJpeg(absl::string_view bytes, const ImageHeader& header) {
  const std::unique_ptr<void, decltype(&tjDestroy)> decoder(tjInitDecompress(), tjDestroy);
  if (decoder == nullptr) return OutOfMemory("no memory for a JPEG decoder");
  Picture picture(header.width, header.height);
  std::vector<uint8_t> cmyk;
  if (header.cmyk) cmyk.resize(picture.rgb.size() / 3 * 4);
  const int result =
      tjDecompress2(decoder.get(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), header.cmyk ? cmyk.data() : picture.rgb.data(), header.width, 0,
                    header.height, header.cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS);
  // A warning is damage that libjpeg got over; Pillow takes such pictures too.
  if (result != 0 && tjGetErrorCode(decoder.get()) != TJERR_WARNING) {
    const std::string message =
        absl::StrCat("the picture can't be decoded: ", tjGetErrorStr2(decoder.get()));
    return absl::StrContains(message, "Insufficient memory") ? OutOfMemory(message)
                                                             : InvalidMedia(message);
  }
  if (header.cmyk) InvertedCmykToRgb(cmyk.data(), picture);
  return picture;
}

}  // namespace

absl::StatusOr<Picture> DecodeImage(absl::string_view bytes, const ImageHeader& header) {
  absl::StatusOr<Picture> picture = header.format == ImageFormat::kJpeg
                                        ? DecodeJpeg(bytes, header)
                                        : DecodeWithStb(bytes, header);
  if (!picture.ok()) return picture;
  return Upright(*std::move(picture), header.orientation);
}

}  // namespace softsplice
