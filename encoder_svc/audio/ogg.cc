// See ogg.h. Not through libsndfile, which leaks memory when a Vorbis header is corrupt and reads
// only the first of chained streams.
#include "encoder_svc/audio/ogg.h"

#include <opusfile.h>
#include <vorbis/codec.h>
#define OV_EXCLUDE_STATIC_CALLBACKS
#include <vorbis/vorbisfile.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/media/memory_file.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/audio/ogg_pages.h"
#include "encoder_svc/audio/stream_sink.h"

namespace softsplice {
namespace {

constexpr int kOpusRate = 48000;  // that it decodes to, whatever went in

MemoryFile& FileOf(void* self) { return *static_cast<MemoryFile*>(self); }
size_t ReadVorbis(void* out, size_t size, size_t count, void* self) {
  return size == 0 ? 0 : FileOf(self).Read(out, size * count) / size;
}
int ReadOpus(void* self, unsigned char* out, int count) {
  return count <= 0 ? 0 : static_cast<int>(FileOf(self).Read(out, static_cast<size_t>(count)));
}
// libvorbisfile finds chained streams only where it can seek.
int Seek(void* self, ogg_int64_t offset, int whence) {
  return FileOf(self).Seek(offset, whence) < 0 ? -1 : 0;
}
long TellVorbis(void* self) { return FileOf(self).at(); }

absl::Status Corrupt(int64_t code) {
  return InvalidMedia(absl::StrCat("the OGG is truncated or corrupt (code ", code, ")"));
}

absl::StatusOr<std::vector<float>> DecodeVorbis(MemoryFile memory, const SoundLimits& limits) {
  OggVorbis_File vorbis;
  const ov_callbacks callbacks{&ReadVorbis, &Seek, nullptr, &TellVorbis};
  const int error = ov_open_callbacks(&memory, &vorbis, nullptr, 0, callbacks);
  if (error != 0) return Corrupt(error);
  const std::unique_ptr<OggVorbis_File, decltype(&ov_clear)> file(&vorbis, &ov_clear);
  // Opening may end in a later stream than the first.
  if (const int moved = ov_pcm_seek(&vorbis, 0); moved != 0) return Corrupt(moved);
  StreamSink sink(SoundFormat::kOgg, limits);
  std::vector<float> interleaved;
  for (;;) {
    float** planes = nullptr;
    const long count = ov_read_float(&vorbis, &planes, 4096, nullptr);
    if (count == 0) return sink.Finish();
    const vorbis_info* info = ov_info(&vorbis, -1);
    if (count < 0 || info == nullptr) return Corrupt(count);
    interleaved.clear();
    for (long i = 0; i < count; ++i) {
      for (int c = 0; c < info->channels; ++c) interleaved.push_back(planes[c][i]);
    }
    RETURN_IF_ERROR(sink.Begin(info->rate, info->channels));
    RETURN_IF_ERROR(sink.Add(interleaved));
  }
}

absl::StatusOr<std::vector<float>> DecodeOpus(MemoryFile memory, const SoundLimits& limits) {
  int error = 0;
  // Read as a stream: where libopusfile can seek, it looks for all chained streams first, and loses
  // the tags of one that is corrupt.
  const OpusFileCallbacks callbacks{&ReadOpus, nullptr, nullptr, nullptr};
  const std::unique_ptr<OggOpusFile, decltype(&op_free)> file(
      op_open_callbacks(&memory, &callbacks, nullptr, 0, &error), &op_free);
  if (error == OP_EFAULT) return OutOfMemory("no memory for an OGG decoder");
  if (file == nullptr) return Corrupt(error);
  StreamSink sink(SoundFormat::kOgg, limits);
  // 120 ms, the longest packet, of 8 channels, the most of Opus in OGG's usual mappings.
  std::vector<float> block(8 * kOpusRate * 12 / 100);
  for (;;) {
    const int count =
        op_read_float(file.get(), block.data(), static_cast<int>(block.size()), nullptr);
    if (count == 0) return sink.Finish();
    if (count < 0) return Corrupt(count);
    const int channels = op_channel_count(file.get(), -1);
    RETURN_IF_ERROR(sink.Begin(kOpusRate, channels));
    RETURN_IF_ERROR(sink.Add(absl::MakeConstSpan(block).first(static_cast<size_t>(count) *
                                                              static_cast<size_t>(channels))));
  }
}

}  // namespace

absl::StatusOr<std::vector<float>> DecodeOgg(absl::string_view bytes, const SoundLimits& limits) {
  // Each stream begins with a page of its own that names the codec; there may be others, of
  // pictures.
  const absl::string_view beginning = bytes.substr(0, 4096);
  const bool opus = beginning.find("OpusHead") != absl::string_view::npos;
  if (opus || beginning.find("\x01vorbis") != absl::string_view::npos) {
    std::string recounted;
    ASSIGN_OR_RETURN(const absl::string_view file, ReadOggPages(bytes, recounted));
    return opus ? DecodeOpus(MemoryFile(file), limits) : DecodeVorbis(MemoryFile(file), limits);
  }
  return InvalidMedia("the OGG has no Vorbis or Opus in it, which alone can be read");
}

}  // namespace softsplice
