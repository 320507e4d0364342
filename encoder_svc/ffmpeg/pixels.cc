// See pixels.h.
#include "encoder_svc/ffmpeg/pixels.h"

extern "C" {
#include <libavutil/display.h>
#include <libswscale/swscale.h>
}

#include <cmath>
#include <cstring>

namespace softsplice {

int QuarterTurns(const AVStream& stream) {
  constexpr size_t kMatrixBytes = 9 * sizeof(int32_t);
  size_t size = 0;
  const uint8_t* matrix = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  if (matrix == nullptr || size < kMatrixBytes) return 0;
  const double degrees = av_display_rotation_get(reinterpret_cast<const int32_t*>(matrix));
  if (std::isnan(degrees)) return 0;
  return (static_cast<int>(std::round(degrees / 90)) + 4) % 4;
}

void PixelWriter::FreeSws::operator()(SwsContext* context) const { sws_freeContext(context); }

FfmpegFault PixelWriter::Write(const AVFrame& frame, int quarter_turns, bool& wanted) {
  if (FfmpegFault fault = Convert(frame)) return fault;
  wanted = WriteTurned(quarter_turns);
  return std::nullopt;
}

// Rows of rgb_ have room behind their ends: swscale writes pixels in groups.
FfmpegFault PixelWriter::Prepare(const AVFrame& frame) {
  like_.reset(av_frame_alloc());
  rgb_.reset(av_frame_alloc());
  if (like_ == nullptr || rgb_ == nullptr) return "";
  like_->format = frame.format;
  like_->colorspace = frame.colorspace;
  like_->color_range = frame.color_range;
  rgb_->format = AV_PIX_FMT_RGB24;
  rgb_->width = frame.width;
  rgb_->height = frame.height;
  if (const int error = av_frame_get_buffer(rgb_.get(), 0); error < 0) return FfmpegCorrupt(error);
  sws_.reset(sws_getContext(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format),
                            frame.width, frame.height, AV_PIX_FMT_RGB24, 0, nullptr, nullptr,
                            nullptr));
  if (sws_ == nullptr) return "has pixels of a form that can't be read";
  int *coefficients = nullptr, *to_coefficients = nullptr;
  int range = 0, to_range = 0, brightness = 0, contrast = 0, saturation = 0;
  sws_getColorspaceDetails(sws_.get(), &coefficients, &range, &to_coefficients, &to_range,
                           &brightness, &contrast, &saturation);
  if (frame.color_range != AVCOL_RANGE_UNSPECIFIED) range = frame.color_range == AVCOL_RANGE_JPEG;
  const int* matrix = sws_getCoefficients(frame.colorspace);
  sws_setColorspaceDetails(sws_.get(), matrix, range, matrix, to_range, brightness, contrast,
                           saturation);
  return std::nullopt;
}

FfmpegFault PixelWriter::Convert(const AVFrame& frame) {
  const bool same = sws_ != nullptr && like_->format == frame.format &&
                    like_->colorspace == frame.colorspace &&
                    like_->color_range == frame.color_range && rgb_->width == frame.width &&
                    rgb_->height == frame.height;
  if (!same) {
    if (FfmpegFault fault = Prepare(frame)) return fault;
  }
  const int rows = sws_scale(sws_.get(), frame.data, frame.linesize, 0, frame.height, rgb_->data,
                             rgb_->linesize);
  return rows == frame.height ? std::nullopt
                              : FfmpegFault("has pixels of a form that can't be read");
}

bool PixelWriter::WriteTurned(int quarter_turns) {
  constexpr size_t kPixel = 3, kMost = kMostFfmpegMessageBytes / kPixel * kPixel;
  const ptrdiff_t pixel = kPixel, row = rgb_->linesize[0];
  const ptrdiff_t last_pixel = pixel * (rgb_->width - 1), last_row = row * (rgb_->height - 1);
  // Where the upper left corner is, and how far right and down are from there.
  const struct {
    ptrdiff_t corner, right, down;
  } ways[] = {{0, pixel, row},
              {last_pixel, row, -pixel},
              {last_row + last_pixel, -pixel, -row},
              {last_row, -row, pixel}};
  const auto& way = ways[quarter_turns];
  const bool swaps = quarter_turns % 2 == 1;
  const int width = swaps ? rgb_->height : rgb_->width;
  const int height = swaps ? rgb_->width : rgb_->height;
  message_.resize(kMost);
  size_t filled = 0;
  for (int y = 0; y < height; ++y) {
    const uint8_t* from = rgb_->data[0] + way.corner + way.down * y;
    for (int x = 0; x < width; ++x, from += way.right) {
      std::memcpy(&message_[filled], from, kPixel);
      filled += kPixel;
      if (filled < kMost) continue;
      if (!write_(FfmpegMessage::kPixels, message_)) return false;
      filled = 0;
    }
  }
  return filled == 0 ||
         write_(FfmpegMessage::kPixels, absl::string_view(message_).substr(0, filled));
}

}  // namespace softsplice
