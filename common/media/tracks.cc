// See tracks.h. MP4's boxes: ISO/IEC 14496-12; WebM's elements: RFC 8794, RFC 9559.
#include "common/media/tracks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/numeric/bits.h"
#include "common/media/sniff.h"

namespace softsplice {
namespace {

uint64_t BigEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// Gives `use(type, content)` each box of `bytes`, as far as they go. True: the last one is not all
// there.
template <class Use>
bool ForEachBox(absl::string_view bytes, const Use& use) {
  while (bytes.size() >= 8) {
    uint64_t size = BigEndian(bytes.substr(0, 4));
    size_t header = 8;
    if (size == 0) size = bytes.size();  // the last
    if (size == 1 && bytes.size() >= 16) {
      size = BigEndian(bytes.substr(8, 8));
      header = 16;
    }
    if (size < header) return false;
    const absl::string_view box = bytes.substr(0, std::min<uint64_t>(size, bytes.size()));
    use(box.substr(4, 4), box.substr(header));
    if (size > bytes.size()) return true;
    bytes.remove_prefix(box.size());
  }
  return false;
}

// moov/trak/mdia/hdlr: version and flags, four bytes that are QuickTime's, the kind.
Tracks InMp4(absl::string_view bytes) {
  Tracks tracks;
  const auto handler = [&](absl::string_view type, absl::string_view content) {
    if (type != "hdlr") return;
    tracks.video |= HasMagic(content, {8, "vide"});
    tracks.sound |= HasMagic(content, {8, "soun"});
  };
  const auto media = [&](absl::string_view type, absl::string_view content) {
    if (type == "mdia") ForEachBox(content, handler);
  };
  const auto track = [&](absl::string_view type, absl::string_view content) {
    if (type == "trak") ForEachBox(content, media);
  };
  ForEachBox(bytes, [&](absl::string_view type, absl::string_view content) {
    if (type == "moov") ForEachBox(content, track);
  });
  return tracks;
}

// Takes a number from `bytes` whose first byte says by its leading zeros how many follow. These
// belong to an id and not to a size. Nothing: there is none.
struct Coded {
  uint64_t value;
  bool unknown;  // all ones: a size that is not known
};
std::optional<Coded> TakeCoded(absl::string_view& bytes, bool with_marker) {
  if (bytes.empty() || bytes[0] == 0) return std::nullopt;
  const int zeros = absl::countl_zero(static_cast<uint8_t>(bytes[0]));
  const size_t length = static_cast<size_t>(zeros) + 1;
  if (bytes.size() < length) return std::nullopt;
  const uint64_t all = BigEndian(bytes.substr(0, length));
  bytes.remove_prefix(length);
  const uint64_t marker = uint64_t{1} << (7 * length);
  return Coded{with_marker ? all : all - marker, all - marker == marker - 1};
}

constexpr absl::string_view kEbml = "\x1a\x45\xdf\xa3";
constexpr uint64_t kSegment = 0x18538067;

// Segment/Tracks/TrackEntry/TrackType. What is on the way, or has no known size, is stepped into.
Tracks InWebm(absl::string_view bytes) {
  constexpr uint64_t kTracks = 0x1654AE6B, kEntry = 0xAE, kType = 0x83;
  Tracks tracks;
  while (!bytes.empty()) {
    const std::optional<Coded> id = TakeCoded(bytes, true);
    const std::optional<Coded> size = TakeCoded(bytes, false);
    if (!id || !size) break;
    if (id->value == kSegment || id->value == kTracks || id->value == kEntry || size->unknown) {
      continue;
    }
    const absl::string_view content =
        bytes.substr(0, std::min<uint64_t>(size->value, bytes.size()));
    if (id->value == kType) {
      const uint64_t type = BigEndian(content);
      tracks.video |= type == 1;
      tracks.sound |= type == 2;
    }
    bytes.remove_prefix(content.size());
  }
  return tracks;
}

}  // namespace

std::optional<Tracks> FindTracks(absl::string_view data) {
  if (HasMagic(data, {0, kEbml})) return InWebm(data);
  for (const char* box : {"ftyp", "moov", "mdat", "wide"}) {
    if (HasMagic(data, {4, box})) return InMp4(data);
  }
  return std::nullopt;
}

bool IsCutOff(absl::string_view data) {
  if (!HasMagic(data, {0, kEbml})) {
    absl::string_view last;
    const bool cut =
        ForEachBox(data, [&](absl::string_view type, absl::string_view) { last = type; });
    return cut && (last == "moov" || last == "moof");
  }
  while (!data.empty()) {
    const std::optional<Coded> id = TakeCoded(data, true);
    const std::optional<Coded> size = TakeCoded(data, false);
    if (!id || !size || size->unknown) return false;
    if (size->value > data.size()) return true;
    if (id->value == kSegment) return false;
    data.remove_prefix(size->value);
  }
  return false;
}

}  // namespace softsplice
