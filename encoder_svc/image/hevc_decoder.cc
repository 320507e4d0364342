// See hevc_decoder.h. libheif's own way to libde265 starts a thread for each tile, and takes the
// size that the coded data give, which need not be the one in the file's header.
#include "encoder_svc/image/hevc_decoder.h"

#include <libde265/de265.h>
#include <libheif/heif.h>
#include <libheif/heif_plugin.h>

#include <cstddef>
#include <cstring>
#include <memory>

namespace softsplice {
namespace {

struct Allowance {
  uint64_t picture_pixels = 0;
  uint64_t pixels = 0;  // that are left
  int pictures = 0;     // of this decoder
  bool exceeded = false;
  bool memory_short = false;
};
thread_local Allowance allowance;

constexpr int kMostPictures = 2;
constexpr heif_error kDone = {heif_error_Ok, heif_suberror_Unspecified, "Success"};
constexpr heif_error kNoData = {heif_error_Decoder_plugin_error, heif_suberror_End_of_data,
                                "the coded data are not all there"};
constexpr heif_error kCorrupt = {heif_error_Decoder_plugin_error, heif_suberror_Unspecified,
                                 "the coded data are corrupt"};

int Allocate(de265_decoder_context* context, de265_image_spec* spec, de265_image* image,
             void* /*user*/) {
  const uint64_t pixels = static_cast<uint64_t>(spec->width) * static_cast<uint64_t>(spec->height);
  if (++allowance.pictures > kMostPictures || pixels > allowance.picture_pixels ||
      pixels > allowance.pixels) {
    allowance.exceeded = true;
    return 0;
  }
  allowance.pixels -= pixels;
  const int taken =
      de265_get_default_image_allocation_functions()->get_buffer(context, spec, image, nullptr);
  allowance.memory_short = allowance.memory_short || taken == 0;
  return taken;
}

void Release(de265_decoder_context* context, de265_image* image, void* /*user*/) {
  de265_get_default_image_allocation_functions()->release_buffer(context, image, nullptr);
}

heif_error NewDecoder(void** decoder) {
  *decoder = de265_new_decoder();
  if (*decoder == nullptr) return kCorrupt;
  allowance.pictures = 0;
  de265_image_allocation allocation = {Allocate, Release};
  de265_set_image_allocation_functions(*decoder, &allocation, nullptr);
  return kDone;
}

void FreeDecoder(void* decoder) { de265_free_decoder(decoder); }

// NAL units, each behind its length in four bytes.
heif_error PushData(void* decoder, const void* data, size_t size) {
  const auto* at = static_cast<const uint8_t*>(data);
  for (size_t left = size; left != 0;) {
    if (left < 4) return kNoData;
    const size_t length = size_t{at[0]} << 24 | size_t{at[1]} << 16 | size_t{at[2]} << 8 | at[3];
    if (length > left - 4) return kNoData;
    if (de265_push_NAL(decoder, at + 4, static_cast<int>(length), 0, nullptr) != DE265_OK) {
      return kCorrupt;
    }
    at += 4 + length;
    left -= 4 + length;
  }
  return kDone;
}

heif_error CopyPlane(const de265_image* from, int channel, heif_channel as, heif_image* to) {
  const int width = de265_get_image_width(from, channel);
  const int height = de265_get_image_height(from, channel);
  const int bits = de265_get_bits_per_pixel(from, channel);
  if (width <= 0 || height <= 0 || bits != de265_get_bits_per_pixel(from, 0)) return kCorrupt;
  const heif_error added = heif_image_add_plane(to, as, width, height, bits);
  if (added.code != heif_error_Ok) return added;
  int from_stride = 0, to_stride = 0;
  const uint8_t* source = de265_get_image_plane(from, channel, &from_stride);
  uint8_t* target = heif_image_get_plane(to, as, &to_stride);
  const size_t row_bytes = static_cast<size_t>(width) * static_cast<size_t>((bits + 7) / 8);
  for (int y = 0; y < height; ++y, source += from_stride, target += to_stride) {
    std::memcpy(target, source, row_bytes);
  }
  return kDone;
}

// What the coded data say of colours counts where the container says nothing.
void CopyColours(const de265_image* from, heif_image* to) {
  const std::unique_ptr<heif_color_profile_nclx, decltype(&heif_nclx_color_profile_free)> profile(
      heif_nclx_color_profile_alloc(), heif_nclx_color_profile_free);
  if (profile == nullptr) return;
  const auto number = [](int value) { return static_cast<uint16_t>(value); };
  // Values that libheif doesn't know leave what is unspecified.
  (void)heif_nclx_color_profile_set_color_primaries(profile.get(),
                                                    number(de265_get_image_colour_primaries(from)));
  (void)heif_nclx_color_profile_set_transfer_characteristics(
      profile.get(), number(de265_get_image_transfer_characteristics(from)));
  (void)heif_nclx_color_profile_set_matrix_coefficients(
      profile.get(), number(de265_get_image_matrix_coefficients(from)));
  profile->full_range_flag = static_cast<uint8_t>(de265_get_image_full_range_flag(from) != 0);
  heif_image_set_nclx_color_profile(to, profile.get());
}

heif_error ToHeif(const de265_image* from, heif_image** image) {
  const de265_chroma chroma = de265_get_chroma_format(from);
  const bool mono = chroma == de265_chroma_mono;
  heif_image* to = nullptr;
  heif_error error =
      heif_image_create(de265_get_image_width(from, 0), de265_get_image_height(from, 0),
                        mono ? heif_colorspace_monochrome : heif_colorspace_YCbCr,
                        static_cast<heif_chroma>(chroma), &to);
  if (error.code != heif_error_Ok) return error;
  constexpr heif_channel kPlanes[] = {heif_channel_Y, heif_channel_Cb, heif_channel_Cr};
  for (int c = 0; c < (mono ? 1 : 3) && error.code == heif_error_Ok; ++c) {
    error = CopyPlane(from, c, kPlanes[c], to);
  }
  if (error.code != heif_error_Ok) {
    heif_image_release(to);
    return error;
  }
  CopyColours(from, to);
  *image = to;
  return kDone;
}

heif_error DecodePicture(void* decoder, heif_image** image) {
  *image = nullptr;
  de265_flush_data(decoder);
  int more = 1;
  while (more != 0 && de265_decode(decoder, &more) == DE265_OK) {
    if (const de265_image* picture = de265_get_next_picture(decoder)) return ToHeif(picture, image);
  }
  return kCorrupt;
}

constexpr char kId[] = "softsplice_hevc";

const heif_decoder_plugin kPlugin = {
    .plugin_api_version = 3,
    .get_plugin_name = [] { return kId; },
    .init_plugin = nullptr,
    .deinit_plugin = nullptr,
    // libheif's own has 100.
    .does_support_format =
        [](heif_compression_format format) { return format == heif_compression_HEVC ? 200 : 0; },
    .new_decoder = NewDecoder,
    .free_decoder = FreeDecoder,
    .push_data = PushData,
    .decode_image = DecodePicture,
    .set_strict_decoding = [](void* /*decoder*/, int /*flag*/) {},
    .id_name = kId};

}  // namespace

HevcAllowance::HevcAllowance(uint64_t picture_pixels, uint64_t pixels) {
  static const heif_error registered = heif_register_decoder_plugin(&kPlugin);
  (void)registered;  // it fails for plugins of later versions only
  allowance = {.picture_pixels = picture_pixels, .pixels = pixels};
}

HevcAllowance::~HevcAllowance() { allowance = {}; }

bool HevcAllowance::exceeded() const { return allowance.exceeded; }

bool HevcAllowance::memory_short() const { return allowance.memory_short; }

}  // namespace softsplice
