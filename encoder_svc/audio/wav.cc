// See wav.h.
#include "encoder_svc/audio/wav.h"

#include <cstdint>
#include <string>

#include "common/media/sniff.h"

namespace softsplice {
namespace {

// Programs that write into a pipe can't know a size and say 0 or something huge.
constexpr uint64_t kUnknownFrom = 0x7FFF0000;
constexpr size_t kChunkHeader = 8;
// Of a ds64 chunk's body, which has the sizes that 32 bits can't hold: the whole file's, the
// data's.
constexpr size_t kRiffSize64 = 0, kDataSize64 = 8, kSizes64 = 16;

uint64_t LittleEndian(absl::string_view bytes, size_t at, size_t width) {
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

std::string Bytes(uint64_t value, size_t width) {
  std::string out;
  for (size_t i = 0; i < width; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

// Where the chunks are that matter; 0: not there.
struct Chunks {
  size_t format = 0, sizes = 0, data = 0;
};

Chunks FindChunks(absl::string_view bytes) {
  Chunks found;
  for (size_t at = 12; at + kChunkHeader <= bytes.size();) {
    const absl::string_view name = bytes.substr(at, 4);
    const size_t length = LittleEndian(bytes, at + 4, 4);
    const size_t body = at + kChunkHeader;
    if (name == "data") {
      found.data = body;
      return found;
    }
    if (name == "fmt " && length >= 2 && body + 2 <= bytes.size()) found.format = body;
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
  Sizes sizes{LittleEndian(bytes, 4, 4), LittleEndian(bytes, chunks.data - 4, 4)};
  if (chunks.sizes == 0) return sizes;
  if (sizes.file == 0xFFFFFFFF) sizes.file = LittleEndian(bytes, chunks.sizes + kRiffSize64, 8);
  if (sizes.data == 0xFFFFFFFF) sizes.data = LittleEndian(bytes, chunks.sizes + kDataSize64, 8);
  return sizes;
}

bool IsMpeg(absl::string_view bytes, const Chunks& chunks) {
  constexpr uint64_t kMpeg = 0x50, kMp3 = 0x55;
  if (chunks.format == 0) return false;
  const uint64_t coding = LittleEndian(bytes, chunks.format, 2);
  return coding == kMpeg || coding == kMp3;
}

}  // namespace

Wav ReadWav(absl::string_view bytes) {
  Wav wav{.file = MemoryFile(bytes)};
  const bool large = HasMagic(bytes, {0, "RF64"}) || HasMagic(bytes, {0, "BW64"});
  if (!large && !HasMagic(bytes, {0, "RIFF"})) return wav;
  const Chunks chunks = FindChunks(bytes);
  if (IsMpeg(bytes, chunks)) wav.mpeg = "";
  if (chunks.data == 0) return wav;
  const Sizes stated = StatedSizes(bytes, chunks);
  const uint64_t there = bytes.size() - chunks.data;
  const bool known = stated.data != 0 && stated.data < kUnknownFrom;
  const uint64_t data = known && stated.data <= there ? stated.data : there;
  wav.truncated =
      known && stated.data > there && stated.file > bytes.size() && stated.file < kUnknownFrom;
  if (wav.mpeg) wav.mpeg = bytes.substr(chunks.data, data);
  // BW64 is RF64 by another name, which libsndfile does not know.
  if (large) wav.file.Patch(0, "RF64");
  const Sizes true_sizes{bytes.size() - kChunkHeader, data};
  if (large && chunks.sizes != 0) {
    wav.file.Patch(chunks.sizes, Bytes(true_sizes.file, 8) + Bytes(true_sizes.data, 8));
  } else if (data != stated.data) {
    wav.file.Patch(4, Bytes(true_sizes.file, 4));
    wav.file.Patch(chunks.data - 4, Bytes(true_sizes.data, 4));
  }
  return wav;
}

}  // namespace softsplice
