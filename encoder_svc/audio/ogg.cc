// See ogg.h. Not through libsndfile, which leaks memory when a Vorbis header is corrupt and reads
// only the first of chained streams.
#include "encoder_svc/audio/ogg.h"

#include <opusfile.h>
#include <vorbis/codec.h>
#define OV_EXCLUDE_STATIC_CALLBACKS
#include <vorbis/vorbisfile.h>

#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/audio/mono.h"

namespace softsplice {
namespace {

constexpr int kOpusRate = 48000;  // that it decodes to, whatever went in

// A file in memory, with a position. libvorbisfile finds chained streams only where it can seek.
struct Memory {
  absl::string_view bytes;
  int64_t at = 0;

  int64_t size() const { return static_cast<int64_t>(bytes.size()); }

  static size_t Read(void* out, size_t size, size_t count, void* self) {
    auto* memory = static_cast<Memory*>(self);
    if (size == 0) return 0;
    const size_t taken =
        memory->bytes.copy(static_cast<char*>(out), size * count, static_cast<size_t>(memory->at));
    memory->at += static_cast<int64_t>(taken);
    return taken / size;
  }
  static int Seek(void* self, ogg_int64_t offset, int whence) {
    auto* memory = static_cast<Memory*>(self);
    const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? memory->at : memory->size();
    int64_t target = 0;
    if (__builtin_add_overflow(base, offset, &target) || target < 0 || target > memory->size()) {
      return -1;
    }
    memory->at = target;
    return 0;
  }
  static long Tell(void* self) { return static_cast<Memory*>(self)->at; }
};

absl::Status Corrupt(int64_t code) {
  return InvalidMedia(absl::StrCat("the OGG is truncated or corrupt (code ", code, ")"));
}

// Makes the sink when the first samples come, and sees to it that all are alike.
class Stream {
 public:
  explicit Stream(const SoundLimits& limits) : limits_(limits) {}

  absl::Status Add(absl::Span<const float> interleaved, int64_t rate, int channels) {
    if (!sink_) {
      ASSIGN_OR_RETURN(sink_, MonoSink::Make(rate, channels, limits_));
      rate_ = rate;
    }
    if (rate != rate_ || channels != sink_->channels()) {
      return InvalidMedia("the OGG changes its sample rate or channels on the way");
    }
    return sink_->Add(interleaved);
  }
  absl::StatusOr<std::vector<float>> Finish() {
    if (!sink_) return InvalidMedia("the OGG has no samples");
    return sink_->Finish();
  }

 private:
  const SoundLimits& limits_;
  std::optional<MonoSink> sink_;
  int64_t rate_ = 0;
};

absl::StatusOr<std::vector<float>> DecodeVorbis(absl::string_view bytes,
                                                const SoundLimits& limits) {
  Memory memory{bytes};
  OggVorbis_File vorbis;
  const ov_callbacks callbacks{&Memory::Read, &Memory::Seek, nullptr, &Memory::Tell};
  const int error = ov_open_callbacks(&memory, &vorbis, nullptr, 0, callbacks);
  if (error != 0) return Corrupt(error);
  const std::unique_ptr<OggVorbis_File, decltype(&ov_clear)> file(&vorbis, &ov_clear);
  // Opening may end in a later stream than the first.
  if (const int moved = ov_pcm_seek(&vorbis, 0); moved != 0) return Corrupt(moved);
  Stream stream(limits);
  std::vector<float> interleaved;
  for (;;) {
    float** planes = nullptr;
    const long count = ov_read_float(&vorbis, &planes, 4096, nullptr);
    if (count == 0) return stream.Finish();
    const vorbis_info* info = ov_info(&vorbis, -1);
    if (count < 0 || info == nullptr) return Corrupt(count);
    interleaved.clear();
    for (long i = 0; i < count; ++i) {
      for (int c = 0; c < info->channels; ++c) interleaved.push_back(planes[c][i]);
    }
    RETURN_IF_ERROR(stream.Add(interleaved, info->rate, info->channels));
  }
}

absl::StatusOr<std::vector<float>> DecodeOpus(absl::string_view bytes, const SoundLimits& limits) {
  int error = 0;
  const std::unique_ptr<OggOpusFile, decltype(&op_free)> file(
      op_open_memory(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), &error),
      &op_free);
  if (error == OP_EFAULT) return OutOfMemory("no memory for an OGG decoder");
  if (file == nullptr) return Corrupt(error);
  Stream stream(limits);
  // 120 ms, the longest packet, of 8 channels, the most of Opus in OGG's usual mappings.
  std::vector<float> block(8 * kOpusRate * 12 / 100);
  for (;;) {
    const int count =
        op_read_float(file.get(), block.data(), static_cast<int>(block.size()), nullptr);
    if (count == 0) return stream.Finish();
    if (count < 0) return Corrupt(count);
    const int channels = op_channel_count(file.get(), -1);
    RETURN_IF_ERROR(stream.Add(absl::MakeConstSpan(block).first(static_cast<size_t>(count) *
                                                                static_cast<size_t>(channels)),
                               kOpusRate, channels));
  }
}

}  // namespace

absl::StatusOr<std::vector<float>> DecodeOgg(absl::string_view bytes, const SoundLimits& limits) {
  // Each stream begins with a page of its own that names the codec; there may be others, of
  // pictures.
  const absl::string_view beginning = bytes.substr(0, 4096);
  if (beginning.find("OpusHead") != absl::string_view::npos) return DecodeOpus(bytes, limits);
  if (beginning.find("\x01vorbis") != absl::string_view::npos) {
    return DecodeVorbis(bytes, limits);
  }
  return InvalidMedia("the OGG has no Vorbis or Opus in it, which alone can be read");
}

}  // namespace softsplice
