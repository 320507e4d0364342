// WebP, the first frame, by libwebp.
#include <webp/decode.h>
#include <webp/demux.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/allowance.h"
#include "encoder_svc/image/alpha.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/orientation.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kWebp = ImageFormat::kWebp;

WebPData Data(absl::string_view bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

// Of a file whose parts are all there. What the iterators point to are its bytes.
using Demuxer = std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)>;

Demuxer Demux(absl::string_view bytes) {
  const WebPData data = Data(bytes);
  return {WebPDemux(&data), WebPDemuxDelete};
}

absl::string_view Chunk(const WebPDemuxer* demuxer, const char* name) {
  absl::string_view data;
  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(demuxer, name, 1, &chunk) != 0) {
    data = {reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size};
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return data;
}

// The size, as far as it can be told from the first bytes.
absl::Status ReadSize(absl::string_view b, const ImageLimits& limits, ImageHeader& header) {
  WebPBitstreamFeatures features;
  switch (WebPGetFeatures(Data(b).bytes, b.size(), &features)) {
    case VP8_STATUS_OK:
      return SetSize(header, features.width, features.height, limits);
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return Truncated(kWebp);
    default:
      return Corrupt(kWebp, "its header is corrupt");
  }
}

absl::Status CheckParts(absl::string_view b) {
  WebPDemuxState state;
  const WebPData data = Data(b);
  const Demuxer partial(WebPDemuxPartial(&data, &state), WebPDemuxDelete);
  if (state == WEBP_DEMUX_PARSE_ERROR) return Corrupt(kWebp, "its parts don't fit together");
  return state == WEBP_DEMUX_DONE ? absl::OkStatus() : Truncated(kWebp);
}

absl::Status Decode(const WebPIterator& frame, size_t most_bytes, WebPDecoderConfig& config) {
  const Allowance allowance(most_bytes);
  switch (WebPDecode(frame.fragment.bytes, frame.fragment.size, &config)) {
    case VP8_STATUS_OK:
      return absl::OkStatus();
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return Truncated(kWebp);
    default:
      return allowance.Failure("its WebP data are corrupt");
  }
}

absl::StatusOr<Picture> DecodeFrame(const WebPIterator& frame, bool alpha,
                                    const ImageHeader& header) {
  Picture picture(header.width, header.height);
  const auto left = static_cast<size_t>(frame.x_offset), top = static_cast<size_t>(frame.y_offset);
  // A frame lies inside the canvas, and the rest of that is black or transparent.
  if (left + static_cast<size_t>(frame.width) > static_cast<size_t>(header.width) ||
      top + static_cast<size_t>(frame.height) > static_cast<size_t>(header.height)) {
    return Corrupt(kWebp, "a frame is larger than the picture");
  }
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) return absl::InternalError("another libwebp");
  const size_t channels = alpha ? 4 : 3, stride = channels * static_cast<size_t>(header.width);
  std::vector<uint8_t> rgba;
  if (alpha) rgba.resize(stride * static_cast<size_t>(header.height));
  std::vector<uint8_t>& canvas = alpha ? rgba : picture.rgb;
  config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = canvas.data() + top * stride + left * channels;
  config.output.u.RGBA.stride = static_cast<int>(stride);
  config.output.u.RGBA.size = canvas.size() - (top * stride + left * channels);
  RETURN_IF_ERROR(Decode(frame, header.decoder_bytes, config));
  if (alpha) LayOverWhite(rgba.data(), stride, picture);
  return picture;
}

}  // namespace

// In the place of libwebp's own: lossless data of some hundred kilobytes may ask for tables of over
// a gigabyte.
extern "C" {
void* WebPSafeMalloc(uint64_t count, size_t bytes) {
  return bytes != 0 && count > SIZE_MAX / bytes ? nullptr : AllocateAllowed(count * bytes);
}
void* WebPSafeCalloc(uint64_t count, size_t bytes) { return WebPSafeMalloc(count, bytes); }
void WebPSafeFree(void* memory) { FreeAllowed(memory); }
}

absl::StatusOr<ImageHeader> ReadWebp(absl::string_view b, const ImageLimits& limits) {
  ImageHeader header;
  RETURN_IF_ERROR(ReadSize(b, limits, header));
  RETURN_IF_ERROR(CheckParts(b));
  const Demuxer demuxer = Demux(b);
  if (demuxer == nullptr) return Truncated(kWebp);
  header.orientation =
      ReadOrientation({.exif = Chunk(demuxer.get(), "EXIF"), .xmp = Chunk(demuxer.get(), "XMP ")});
  // RGBA and what lossless data, or the alpha of lossy ones, are made up from; tables.
  constexpr uint64_t kBytesAPixel = 4 + 5, kTables = 16 << 20;
  header.decoder_bytes = kBytesAPixel * Pixels(header) + kTables;
  return header;
}

absl::StatusOr<Picture> DecodeWebp(absl::string_view bytes, const ImageHeader& header) {
  const Demuxer demuxer = Demux(bytes);
  if (demuxer == nullptr) return Truncated(kWebp);
  const bool alpha = (WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG) != 0;
  WebPIterator frame;
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) return Corrupt(kWebp, "it has no picture");
  absl::StatusOr<Picture> picture = DecodeFrame(frame, alpha, header);
  WebPDemuxReleaseIterator(&frame);
  return picture;
}

}  // namespace softsplice
