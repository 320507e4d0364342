#include "deploy/cli/bench/synthetic.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace softsplice::bench {
namespace {

constexpr const char* kWords[] = {
    "time",   "people", "way",   "water", "day",     "man",   "word",   "house",
    "world",  "school", "place", "year",  "work",    "night", "story",  "life",
    "hand",   "side",   "city",  "tree",  "farm",    "hard",  "start",  "light",
    "friend", "father", "power", "town",  "fine",    "money", "long",   "little",
    "round",  "great",  "where", "help",  "through", "much",  "before", "line",
    "right",  "mean",   "old",   "any",   "same",    "boy",   "follow", "came",
    "want",   "show",   "form",  "three", "small",   "set",   "put",    "end",
    "does",   "well",   "large", "must",  "big",     "even",  "such",   "because"};

std::string LittleEndian(uint32_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i);
  return text;
}
std::string Le16(uint32_t value) { return LittleEndian(value, 2); }
std::string Le32(uint32_t value) { return LittleEndian(value, 4); }

void AppendNoise(Random& random, size_t bytes, std::string& out) {
  out.reserve(out.size() + bytes);
  while (bytes > 0) {
    const uint64_t noise = random();
    const size_t part = std::min(bytes, sizeof(noise));
    out.append(reinterpret_cast<const char*>(&noise), part);
    bytes -= part;
  }
}

}  // namespace

std::string RandomWords(Random& random, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", kWords[random() % std::size(kWords)]);
  }
  return text;
}

std::string RandomPicture(Random& random, int width, int height, uint32_t tag) {
  constexpr uint32_t kHeader = 54;
  const uint32_t row = (static_cast<uint32_t>(width) * 3 + 3) / 4 * 4;
  const uint32_t pixels = row * static_cast<uint32_t>(height);
  // File header with its reserved field, then BITMAPINFOHEADER: 1 plane, 24 bits, uncompressed.
  std::string file =
      absl::StrCat("BM", Le32(kHeader + pixels), Le32(tag), Le32(kHeader), Le32(40),
                   Le32(static_cast<uint32_t>(width)), Le32(static_cast<uint32_t>(height)), Le16(1),
                   Le16(24), Le32(0), Le32(pixels), std::string(16, '\0'));
  AppendNoise(random, pixels, file);
  return file;
}

std::string RandomSound(Random& random, absl::Duration length, uint32_t tag) {
  constexpr uint32_t kRate = 16000;
  const auto samples = static_cast<uint32_t>(absl::ToDoubleSeconds(length) * kRate);
  // PCM, 1 channel, 2 bytes a sample, 16 bits.
  const std::string format = absl::StrCat("fmt ", Le32(16), Le16(1), Le16(1), Le32(kRate),
                                          Le32(2 * kRate), Le16(2), Le16(16));
  const std::string unread = absl::StrCat("junk", Le32(4), Le32(tag));
  std::string file = absl::StrCat(
      "RIFF", Le32(static_cast<uint32_t>(4 + format.size() + unread.size() + 8) + 2 * samples),
      "WAVE", format, unread, "data", Le32(2 * samples));
  AppendNoise(random, 2 * samples, file);
  return file;
}

}  // namespace softsplice::bench
