// See wav.h.
#include "encoder_svc/audio/wav.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/media/sniff.h"

namespace softsplice {
namespace {

// Programs that write into a pipe can't know a size and say 0 or something huge.
constexpr uint64_t kUnknownFrom = 0x7FFF0000;
constexpr size_t kChunkHeader = 8;
// Of a ds64 chunk's body, which has the sizes that 32 bits can't hold: the whole file's, the
// data's.
constexpr size_t kRiffSize64 = 0, kDataSize64 = 8, kSizes64 = 16;
// Of a format that we read, and of those that are named when they are refused.
constexpr size_t kMostFormat = 64;

// Whose numbers have their most significant byte first.
bool IsBigEndian(absl::string_view bytes) { return HasMagic(bytes, {0, "RIFX"}); }

uint64_t Number(absl::string_view bytes, size_t at, size_t width) {
  const bool big = IsBigEndian(bytes);
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[at + (big ? i : width - 1 - i)]);
  }
  return value;
}

std::string Bytes(uint32_t value, bool big) {
  std::string out;
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> 8 * (big ? 3 - i : i)));
  return out;
}

// Where the chunks are that matter; 0: not there.
struct Chunks {
  size_t format = 0, sizes = 0, data = 0;
  size_t format_bytes = 0;
};

Chunks FindChunks(absl::string_view bytes) {
  Chunks found;
  for (size_t at = 12; at + kChunkHeader <= bytes.size();) {
    const absl::string_view name = bytes.substr(at, 4);
    const size_t length = Number(bytes, at + 4, 4);
    const size_t body = at + kChunkHeader;
    if (name == "data") {
      found.data = body;
      return found;
    }
    if (name == "fmt " && length >= 2 && body + 2 <= bytes.size() && found.format == 0) {
      found.format = body;
      found.format_bytes = length;
    }
    if (name == "ds64" && length >= kSizes64 && body + kSizes64 <= bytes.size()) found.sizes = body;
    at = body + length + (length & 1);
  }
  return found;
}

struct Sizes {
  uint64_t file, data;
};

// As the file states them.
Sizes StatedSizes(absl::string_view bytes, const Chunks& chunks) {
  Sizes sizes{Number(bytes, 4, 4), Number(bytes, chunks.data - 4, 4)};
  if (chunks.sizes == 0) return sizes;
  if (sizes.file == 0xFFFFFFFF) sizes.file = Number(bytes, chunks.sizes + kRiffSize64, 8);
  if (sizes.data == 0xFFFFFFFF) sizes.data = Number(bytes, chunks.sizes + kDataSize64, 8);
  return sizes;
}

bool IsMpeg(absl::string_view bytes, const Chunks& chunks) {
  constexpr uint64_t kMpeg = 0x50, kMp3 = 0x55;
  if (chunks.format == 0) return false;
  const uint64_t coding = Number(bytes, chunks.format, 2);
  return coding == kMpeg || coding == kMp3;
}

// The format and `data` bytes of samples, of which the file has so many.
MemoryFile Rewritten(absl::string_view bytes, const Chunks& chunks, uint64_t data) {
  const bool big = IsBigEndian(bytes);
  const size_t most = std::min(chunks.format_bytes, kMostFormat) & ~size_t{1};
  const std::string format(bytes.substr(chunks.format, most));
  std::string header = absl::StrCat("WAVEfmt ", Bytes(static_cast<uint32_t>(most), big), format,
                                    "data", Bytes(static_cast<uint32_t>(data), big));
  header = absl::StrCat(big ? "RIFX" : "RIFF",
                        Bytes(static_cast<uint32_t>(header.size() + data), big), header);
  // What it takes is there: the chunk of the format is before the samples.
  MemoryFile file(bytes.substr(chunks.data - header.size(), header.size() + data));
  file.Patch(0, header);
  return file;
}

}  // namespace

Wav ReadWav(absl::string_view bytes) {
  constexpr uint64_t kMostData = 0xFFFF0000;  // of what 32 bits can tell
  Wav wav{.file = MemoryFile("")};
  const Chunks chunks = FindChunks(bytes);
  if (IsMpeg(bytes, chunks)) wav.mpeg = "";
  if (chunks.data == 0 || chunks.format == 0) return wav;
  const Sizes stated = StatedSizes(bytes, chunks);
  const uint64_t there = std::min<uint64_t>(bytes.size() - chunks.data, kMostData);
  const bool known = stated.data != 0 && stated.data < kUnknownFrom;
  const uint64_t data = known && stated.data <= there ? stated.data : there;
  wav.truncated =
      known && stated.data > there && stated.file > bytes.size() && stated.file < kUnknownFrom;
  if (wav.mpeg) wav.mpeg = bytes.substr(chunks.data, data);
  wav.file = Rewritten(bytes, chunks, data);
  return wav;
}

}  // namespace softsplice
