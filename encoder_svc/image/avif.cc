// AVIF, the first frame, by libavif, which is the reference's decoder. (libheif reads these files
// too, but gives colour edges that differ by up to a third of the range.)
#include <avif/avif.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/alpha.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/orientation.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kAvif = ImageFormat::kAvif;

// For the smallest picture.
constexpr uint64_t kWorkBytes = 8 << 20;

using Decoder = std::unique_ptr<avifDecoder, decltype(&avifDecoderDestroy)>;

// A decoder that has read the container.
absl::StatusOr<Decoder> Open(absl::string_view bytes, uint64_t max_pixels) {
  Decoder decoder(avifDecoderCreate(), avifDecoderDestroy);
  if (decoder == nullptr) return OutOfMemory("no memory for an AVIF decoder");
  decoder->maxThreads = 1;
  decoder->imageSizeLimit =
      static_cast<uint32_t>(std::min<uint64_t>(max_pixels, AVIF_DEFAULT_IMAGE_SIZE_LIMIT));
  decoder->imageDimensionLimit = kMaxImageSide;
  decoder->strictFlags = AVIF_STRICT_DISABLED;  // what the reference takes
  avifResult result = avifDecoderSetIOMemory(
      decoder.get(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (result == AVIF_RESULT_OK) result = avifDecoderParse(decoder.get());
  if (result == AVIF_RESULT_OK) return decoder;
  if (result == AVIF_RESULT_TRUNCATED_DATA) return Truncated(kAvif);
  if (absl::StrContains(decoder->diag.error, "too large")) {
    return OverLimit("data", absl::StrCat("the picture is too large; at most ", max_pixels,
                                          " pixels are allowed"));
  }
  return Corrupt(kAvif, avifResultToString(result));
}

// Rotation and mirroring of the container as an EXIF orientation: first the one, anticlockwise,
// then the other.
int Orientation(const avifImage& image) {
  constexpr int kTurned[] = {1, 8, 3, 6};     // by quarters
  constexpr int kTopDown[] = {4, 5, 2, 7};    // and mirrored, top and bottom exchanged
  constexpr int kLeftRight[] = {2, 7, 4, 5};  // left and right exchanged
  const bool turned = (image.transformFlags & AVIF_TRANSFORM_IROT) != 0;
  const int quarters = turned ? image.irot.angle & 3 : 0;
  if ((image.transformFlags & AVIF_TRANSFORM_IMIR) == 0) return kTurned[quarters];
  return image.imir.mode == 0 ? kTopDown[quarters] : kLeftRight[quarters];
}

absl::string_view View(const avifRWData& data) {
  return {reinterpret_cast<const char*>(data.data), data.size};
}

}  // namespace

absl::StatusOr<ImageHeader> ReadAvif(absl::string_view b, const ImageLimits& limits) {
  ImageHeader header;
  ASSIGN_OR_RETURN(const Decoder decoder, Open(b, limits.max_pixels));
  const avifImage& image = *decoder->image;
  RETURN_IF_ERROR(SetSize(header, image.width, image.height, limits));
  header.orientation = Orientation(image);
  // The container's word counts; where it has none, and no EXIF block either, XMP's.
  if (header.orientation == 1 && image.exif.size == 0) {
    header.orientation = ReadOrientation({.xmp = View(image.xmp)});
  }
  // What libavif and dav1d hold at most for each pixel: a picture with the one that it is predicted
  // from or copied to, alpha, RGBA. Deeper ones take two bytes a sample.
  header.decoder_bytes = (image.depth > 8 ? 24 : 12) * Pixels(header) + kWorkBytes;
  return header;
}

absl::StatusOr<Picture> DecodeAvif(absl::string_view bytes, const ImageHeader& header) {
  ASSIGN_OR_RETURN(const Decoder decoder, Open(bytes, Pixels(header)));
  const avifResult result = avifDecoderNextImage(decoder.get());
  if (result == AVIF_RESULT_OUT_OF_MEMORY) return OutOfMemory("no memory for the picture's pixels");
  if (result == AVIF_RESULT_TRUNCATED_DATA) return Truncated(kAvif);
  const avifImage& image = *decoder->image;
  if (result != AVIF_RESULT_OK) {
    return InvalidMedia(absl::StrCat("the picture can't be decoded: ", avifResultToString(result)));
  }
  Picture picture(header.width, header.height);
  if (image.width != static_cast<uint32_t>(header.width) ||
      image.height != static_cast<uint32_t>(header.height)) {
    return InvalidMedia("the picture's headers contradict each other");
  }
  const bool alpha = decoder->alphaPresent != 0;
  std::vector<uint8_t> rgba;
  if (alpha) rgba.resize(4 * Pixels(header));
  avifRGBImage rgb;
  avifRGBImageSetDefaults(&rgb, &image);
  rgb.depth = 8;
  rgb.format = alpha ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  rgb.pixels = alpha ? rgba.data() : picture.rgb.data();
  rgb.rowBytes = image.width * (alpha ? 4 : 3);
  const avifResult converted = avifImageYUVToRGB(&image, &rgb);
  if (converted != AVIF_RESULT_OK) {
    return InvalidMedia(
        absl::StrCat("the picture can't be decoded: ", avifResultToString(converted)));
  }
  if (alpha) LayOverWhite(rgba.data(), rgb.rowBytes, picture);
  return picture;
}

}  // namespace softsplice
