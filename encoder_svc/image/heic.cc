// HEIC (HEVC in HEIF), the primary picture, by libheif and libde265.
#include <libheif/heif.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/alpha.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/heic_items.h"
#include "encoder_svc/image/hevc_decoder.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kHeic = ImageFormat::kHeic;

template <class T, auto kRelease>
struct Releaser {
  void operator()(T* held) const { kRelease(held); }
};
template <class T, auto kRelease>
using Held = std::unique_ptr<T, Releaser<T, kRelease>>;

// A file whose container was read, and its primary picture.
struct Opened {
  Held<heif_context, heif_context_free> context;
  Held<heif_image_handle, heif_image_handle_release> primary;

  // Of what is coded; cut and turned pictures have other sizes.
  int64_t CodedWidth() const { return heif_image_handle_get_ispe_width(primary.get()); }
  int64_t CodedHeight() const { return heif_image_handle_get_ispe_height(primary.get()); }
};

absl::Status Failure(const heif_error& error) {
  if (error.subcode == heif_suberror_End_of_data) return Truncated(kHeic);
  return Corrupt(kHeic, error.message);
}

absl::StatusOr<Opened> Open(absl::string_view bytes) {
  Opened opened;
  opened.context.reset(heif_context_alloc());
  if (opened.context == nullptr) return OutOfMemory("no memory for a HEIC decoder");
  heif_context_set_max_decoding_threads(opened.context.get(), 0);
  heif_context_set_maximum_image_size_limit(opened.context.get(), kMaxImageSide);
  heif_error error = heif_context_read_from_memory_without_copy(opened.context.get(), bytes.data(),
                                                                bytes.size(), nullptr);
  if (error.code != heif_error_Ok) return Failure(error);
  heif_image_handle* primary = nullptr;
  error = heif_context_get_primary_image_handle(opened.context.get(), &primary);
  if (error.code != heif_error_Ok) return Failure(error);
  opened.primary.reset(primary);
  return opened;
}

// For the smallest picture.
constexpr uint64_t kWorkBytes = 8 << 20;

// What libheif and libde265 hold at most, for each coded pixel: its samples in the decoder's order
// and in the file's, and as RGB before and after a turn. Deeper ones take two bytes.
uint64_t DecoderBytes(const Opened& opened, uint64_t pixels) {
  const bool deep = heif_image_handle_get_luma_bits_per_pixel(opened.primary.get()) > 8;
  return pixels * (deep ? 20 : 12) + kWorkBytes;
}

// Coded in blocks of up to 64 pixels, and in tiles of 512 or more.
uint64_t PicturePixels(const Opened& opened) {
  constexpr uint64_t kBlock = 64, kTile = 1 << 20;
  return (static_cast<uint64_t>(opened.CodedWidth()) + kBlock) *
             (static_cast<uint64_t>(opened.CodedHeight()) + kBlock) +
         kTile;
}

}  // namespace

absl::StatusOr<ImageHeader> ReadHeic(absl::string_view b, const ImageLimits& limits) {
  ImageHeader header;
  RETURN_IF_ERROR(CheckHeicItems(b, limits));
  ASSIGN_OR_RETURN(const Opened opened, Open(b));
  RETURN_IF_ERROR(SetSize(header, opened.CodedWidth(), opened.CodedHeight(), limits));
  const uint64_t coded = Pixels(header);
  // Cut and turned by libheif: whatever EXIF and XMP say was done.
  RETURN_IF_ERROR(SetSize(header, heif_image_handle_get_width(opened.primary.get()),
                          heif_image_handle_get_height(opened.primary.get()), limits));
  header.decoder_bytes = DecoderBytes(opened, coded) + 2 * b.size();
  return header;
}

absl::StatusOr<Picture> DecodeHeic(absl::string_view bytes, const ImageHeader& header) {
  ASSIGN_OR_RETURN(const Opened opened, Open(bytes));
  const uint64_t pixels = PicturePixels(opened);
  const HevcAllowance allowance(pixels, 4 * pixels);  // tiles reach over edges; the same for alpha
  const bool alpha = heif_image_handle_has_alpha_channel(opened.primary.get()) != 0;
  const Held<heif_decoding_options, heif_decoding_options_free> options(
      heif_decoding_options_alloc());
  options->convert_hdr_to_8bit = 1;
  heif_image* decoded = nullptr;
  const heif_error error = heif_decode_image(
      opened.primary.get(), &decoded, heif_colorspace_RGB,
      alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, options.get());
  const Held<const heif_image, heif_image_release> image(decoded);
  if (allowance.memory_short()) return OutOfMemory("no memory for the picture's pixels");
  if (allowance.exceeded()) {
    return InvalidMedia("the picture's data are larger than its header says");
  }
  if (error.code != heif_error_Ok) {
    return InvalidMedia(absl::StrCat("the picture can't be decoded: ", error.message));
  }
  int stride = 0;
  const uint8_t* from =
      heif_image_get_plane_readonly(image.get(), heif_channel_interleaved, &stride);
  if (heif_image_get_primary_width(image.get()) != header.width ||
      heif_image_get_primary_height(image.get()) != header.height || from == nullptr) {
    return InvalidMedia("the picture's headers contradict each other");
  }
  Picture picture(header.width, header.height);
  if (alpha) {
    LayOverWhite(from, static_cast<size_t>(stride), picture);
  } else {
    for (int y = 0; y < picture.height; ++y, from += stride) {
      std::copy_n(from, picture.Stride(), picture.Row(y));
    }
  }
  return picture;
}

}  // namespace softsplice
