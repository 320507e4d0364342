// See input.h.
#include "encoder_svc/ffmpeg/input.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

#include <algorithm>
#include <cstdint>
#include <utility>

namespace softsplice {
namespace {

constexpr int kBufferBytes = 32768;

MemoryFile& FileOf(void* self) { return *static_cast<MemoryFile*>(self); }

int Read(void* self, uint8_t* out, int count) {
  const size_t taken = FileOf(self).Read(out, static_cast<size_t>(std::max(count, 0)));
  return taken == 0 ? AVERROR_EOF : static_cast<int>(taken);
}

int64_t Seek(void* self, int64_t offset, int whence) {
  if (whence == AVSEEK_SIZE) return FileOf(self).size();
  const int64_t at = FileOf(self).Seek(offset, whence & ~AVSEEK_FORCE);
  return at < 0 ? AVERROR(EINVAL) : at;
}

int OpenNothing(AVFormatContext* /*format*/, AVIOContext** /*io*/, const char* /*url*/,
                int /*flags*/, AVDictionary** /*options*/) {
  return AVERROR(EACCES);
}

}  // namespace

std::string FfmpegError(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(code, text, sizeof(text));
  return text;
}

FfmpegInput::FfmpegInput(absl::string_view file, const char* demuxer, std::string decoders)
    : file_(file), demuxer_(demuxer), decoders_(std::move(decoders)) {}

FfmpegInput::~FfmpegInput() {
  avformat_close_input(&format_);
  if (io_ != nullptr) av_freep(&io_->buffer);
  avio_context_free(&io_);
}

int FfmpegInput::Open() {
  auto* buffer = static_cast<unsigned char*>(av_malloc(kBufferBytes));
  if (buffer == nullptr) return AVERROR(ENOMEM);
  io_ = avio_alloc_context(buffer, kBufferBytes, 0, &file_, &Read, nullptr, &Seek);
  if (io_ == nullptr) av_free(buffer);
  format_ = avformat_alloc_context();
  if (io_ == nullptr || format_ == nullptr) return AVERROR(ENOMEM);
  const AVInputFormat* demuxer = av_find_input_format(demuxer_);
  if (demuxer == nullptr) return AVERROR_DEMUXER_NOT_FOUND;
  format_->pb = io_;
  format_->io_open = &OpenNothing;
  format_->format_whitelist = av_strdup(demuxer->name);
  format_->codec_whitelist = av_strdup(decoders_.c_str());
  format_->protocol_whitelist = av_strdup("");
  return avformat_open_input(&format_, nullptr, demuxer, nullptr);
}

int FfmpegInput::FindStreamInfo() { return avformat_find_stream_info(format_, nullptr); }

}  // namespace softsplice
