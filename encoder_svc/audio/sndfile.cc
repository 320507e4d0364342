// See sndfile.h.
#include "encoder_svc/audio/sndfile.h"

#include <sndfile.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/audio/mono.h"

namespace softsplice {
namespace {

// Samples (of all channels) decoded at a time.
constexpr size_t kBlock = 32768;

MemoryFile& FileOf(void* self) { return *static_cast<MemoryFile*>(self); }
sf_count_t Length(void* self) { return FileOf(self).size(); }
sf_count_t Tell(void* self) { return FileOf(self).at(); }
sf_count_t Seek(sf_count_t offset, int whence, void* self) {
  return FileOf(self).Seek(offset, whence);
}
sf_count_t Read(void* out, sf_count_t count, void* self) {
  return count <= 0 ? 0
                    : static_cast<sf_count_t>(FileOf(self).Read(out, static_cast<size_t>(count)));
}
sf_count_t Write(const void* /*bytes*/, sf_count_t /*count*/, void* /*self*/) { return 0; }

std::string SubtypeName(int format) {
  SF_FORMAT_INFO info{};
  info.format = format & SF_FORMAT_SUBMASK;
  sf_command(nullptr, SFC_GET_FORMAT_INFO, &info, sizeof(info));
  return info.name == nullptr ? absl::StrCat("coding ", format & SF_FORMAT_SUBMASK) : info.name;
}

// Whether libsndfile found the container that the first bytes announce, with a coding in common
// use: it has many more, old and little tested.
absl::Status CheckVariant(int found, SoundFormat format) {
  const int type = found & SF_FORMAT_TYPEMASK;
  const bool as_announced =
      format == SoundFormat::kWav
          ? type == SF_FORMAT_WAV || type == SF_FORMAT_WAVEX || type == SF_FORMAT_RF64
          : type == SF_FORMAT_FLAC;
  if (!as_announced) return InvalidMedia(absl::StrCat("the ", Name(format), " is corrupt"));
  switch (found & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_S8:
    case SF_FORMAT_PCM_U8:
    case SF_FORMAT_PCM_16:
    case SF_FORMAT_PCM_24:
    case SF_FORMAT_PCM_32:
    case SF_FORMAT_FLOAT:
    case SF_FORMAT_DOUBLE:
    case SF_FORMAT_ULAW:
    case SF_FORMAT_ALAW:
      return absl::OkStatus();
    default:
      return InvalidMedia(absl::StrCat("the ", Name(format), " is coded as ", SubtypeName(found),
                                       ", which can't be read"));
  }
}

// An open file. Not movable: libsndfile reads from `memory`.
struct Reader {
  explicit Reader(MemoryFile its_file) : memory(std::move(its_file)) {}

  SF_VIRTUAL_IO io{Length, Seek, Read, Write, Tell};
  MemoryFile memory;
  SF_INFO info{};
  std::unique_ptr<SNDFILE, decltype(&sf_close)> file{nullptr, &sf_close};

  // The largest number stands for "unknown".
  bool KnowsLength() const { return info.frames != SF_COUNT_MAX; }
};

// The sink for the sound, whose length is allowed as far as `reader` knows it.
absl::StatusOr<MonoSink> Open(Reader& reader, SoundFormat format, const SoundLimits& limits) {
  reader.file.reset(sf_open_virtual(&reader.io, SFM_READ, &reader.info, &reader.memory));
  if (reader.file == nullptr) {
    // libsndfile's reason is in one place for all threads: it may be another sound's.
    return InvalidMedia(absl::StrCat("the ", Name(format), " is truncated or corrupt"));
  }
  RETURN_IF_ERROR(CheckVariant(reader.info.format, format));
  ASSIGN_OR_RETURN(MonoSink sink,
                   MonoSink::Make(reader.info.samplerate, reader.info.channels, limits));
  if (reader.KnowsLength()) RETURN_IF_ERROR(sink.CheckLength(reader.info.frames));
  return sink;
}

absl::Status ReadAll(const Reader& reader, SoundFormat format, MonoSink& sink) {
  const bool known = reader.KnowsLength();
  if (known) sink.Reserve(reader.info.frames);
  std::vector<float> block(kBlock / static_cast<size_t>(sink.channels()) *
                           static_cast<size_t>(sink.channels()));
  for (;;) {
    const sf_count_t count =
        sf_read_float(reader.file.get(), block.data(), static_cast<sf_count_t>(block.size()));
    if (count <= 0) break;
    RETURN_IF_ERROR(sink.Add(absl::MakeConstSpan(block).first(static_cast<size_t>(count))));
  }
  if (sf_error(reader.file.get()) != SF_ERR_NO_ERROR ||
      (known && sink.added() < reader.info.frames)) {
    const std::string total = known ? absl::StrCat(" of ", reader.info.frames) : "";
    return InvalidMedia(absl::StrCat("the ", Name(format), " is truncated or corrupt after ",
                                     sink.added(), total, " samples"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> LengthWithSndfile(MemoryFile file, SoundFormat format,
                                                         const SoundLimits& limits) {
  Reader reader(std::move(file));
  ASSIGN_OR_RETURN(const MonoSink sink, Open(reader, format, limits));
  if (!reader.KnowsLength()) return std::nullopt;
  return sink.OutputSamples(reader.info.frames);
}

absl::StatusOr<std::vector<float>> DecodeWithSndfile(MemoryFile file, SoundFormat format,
                                                     const SoundLimits& limits) {
  Reader reader(std::move(file));
  ASSIGN_OR_RETURN(MonoSink sink, Open(reader, format, limits));
  RETURN_IF_ERROR(ReadAll(reader, format, sink));
  return sink.Finish();
}

}  // namespace softsplice
