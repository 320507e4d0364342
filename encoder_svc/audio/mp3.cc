// See mp3.h. Not through libsndfile: it estimates how long a file without a Xing header is, stops
// there in the middle of a sound whose bit rate varies, and lets libmpg123 write to standard error.
#include "encoder_svc/audio/mp3.h"

#include <mpg123.h>
#include <sys/types.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/media/mpeg.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/audio/stream_sink.h"

namespace softsplice {
namespace {

using Handle = std::unique_ptr<mpg123_handle, decltype(&mpg123_delete)>;

// libmpg123 reads it as a stream, which makes it look for the end instead of guessing.
ssize_t ReadBytes(void* self, void* out, size_t count) {
  auto* rest = static_cast<absl::string_view*>(self);
  const size_t taken = rest->copy(static_cast<char*>(out), count);
  rest->remove_prefix(taken);
  return static_cast<ssize_t>(taken);
}
off_t CannotSeek(void* /*self*/, off_t /*offset*/, int /*whence*/) { return -1; }

// Without the rest of a frame, or padding, in front; libmpg123 might take it for frames.
absl::string_view FromFirstFrame(absl::string_view bytes) {
  const size_t at = IsMpegFrame(bytes) ? 0 : FindMp3Frames(bytes);
  return at == absl::string_view::npos ? bytes : bytes.substr(at);
}

bool Open(mpg123_handle* handle, absl::string_view* rest) {
  const long flags = MPG123_QUIET | MPG123_FORCE_FLOAT | MPG123_GAPLESS | MPG123_SKIP_ID3V2;
  return mpg123_param(handle, MPG123_ADD_FLAGS, flags, 0) == MPG123_OK &&
         mpg123_replace_reader_handle(handle, &ReadBytes, &CannotSeek, nullptr) == MPG123_OK &&
         mpg123_open_handle(handle, rest) == MPG123_OK;
}

// What comes next of the stream.
absl::Status BeginFormat(mpg123_handle* handle, StreamSink& sink) {
  long rate = 0;
  int channels = 0, encoding = 0;
  if (mpg123_getformat(handle, &rate, &channels, &encoding) != MPG123_OK ||
      encoding != MPG123_ENC_FLOAT_32) {
    return absl::InternalError("libmpg123 does not give float samples");
  }
  RETURN_IF_ERROR(sink.Begin(rate, channels));
  // What a Xing header claims.
  const off_t length = mpg123_length(handle);
  return length > 0 ? sink.CheckLength(length) : absl::OkStatus();
}

// Many files end with half a frame.
bool EndsInAFrame(mpg123_handle* handle, int result) {
  return result == MPG123_ERR && mpg123_errcode(handle) == MPG123_ERR_READER;
}

// Reads to the end of the stream. `sink` has not begun as long as there was no frame.
absl::Status ReadAll(mpg123_handle* handle, StreamSink& sink) {
  std::vector<float> block(32768);
  for (;;) {
    size_t bytes = 0;
    const int result = mpg123_read(handle, block.data(), block.size() * sizeof(float), &bytes);
    if (sink.begun() && bytes > 0) {
      RETURN_IF_ERROR(sink.Add(absl::MakeConstSpan(block).first(bytes / sizeof(float))));
    }
    if (result == MPG123_NEW_FORMAT) {
      RETURN_IF_ERROR(BeginFormat(handle, sink));
    } else if (result == MPG123_DONE || EndsInAFrame(handle, result)) {
      return absl::OkStatus();
    } else if (result == MPG123_ERR && mpg123_errcode(handle) == MPG123_OUT_OF_MEM) {
      return OutOfMemory("no memory for an MP3 decoder");
    } else if (result != MPG123_OK) {
      return InvalidMedia(absl::StrCat("the MP3 can't be decoded: ", mpg123_strerror(handle)));
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<float>> DecodeMp3(absl::string_view bytes, const SoundLimits& limits) {
  const Handle handle(mpg123_new(nullptr, nullptr), &mpg123_delete);
  absl::string_view rest = FromFirstFrame(bytes);
  if (handle == nullptr || !Open(handle.get(), &rest)) {
    return OutOfMemory("no memory for an MP3 decoder");
  }
  StreamSink sink(SoundFormat::kMp3, limits);
  RETURN_IF_ERROR(ReadAll(handle.get(), sink));
  if (!sink.begun()) return InvalidMedia("the MP3 has no frame that can be decoded");
  const off_t length = mpg123_length(handle.get());
  if (length > sink.added()) {
    return InvalidMedia(
        absl::StrCat("the MP3 is truncated: it has ", sink.added(), " of ", length, " samples"));
  }
  return sink.Finish();
}

}  // namespace softsplice
