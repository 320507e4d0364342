// Sounds for tests: the files of tests/data/audio, and WAVs by hand.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "encoder_svc/audio/decode.h"
#include "tests/support/read_file.h"

namespace softsplice::testing {

using Samples = std::vector<float>;

inline std::string File(const std::string& name) { return ReadFile("tests/data/audio/" + name); }

// With all programs that this build has.
inline SoundLimits Limits() { return {.ffmpeg = SOFTSPLICE_FFMPEG_PROGRAM}; }

inline absl::StatusOr<Samples> Decode(absl::string_view bytes, absl::string_view mime = "",
                                      const SoundLimits& limits = Limits()) {
  const auto header = ReadSoundHeader(bytes, mime, limits);
  if (!header.ok()) return header.status();
  return DecodeSound(bytes, header->type, limits);
}

inline std::string LittleEndian(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

// A WAV by hand. `claimed`: what it says of its data's size.
inline std::string Wav(uint32_t rate, uint16_t channels, uint16_t bits, bool is_float,
                       const std::string& data, uint32_t claimed) {
  const uint32_t frame = uint32_t{channels} * bits / 8;
  return absl::StrCat("RIFF", LittleEndian(36 + data.size(), 4), "WAVEfmt ", LittleEndian(16, 4),
                      LittleEndian(is_float ? 3 : 1, 2), LittleEndian(channels, 2),
                      LittleEndian(rate, 4), LittleEndian(uint64_t{rate} * frame, 4),
                      LittleEndian(frame, 2), LittleEndian(bits, 2), "data",
                      LittleEndian(claimed, 4), data);
}
inline std::string Wav16(const std::string& data, uint32_t rate = 16000, uint16_t channels = 1) {
  return Wav(rate, channels, 16, false, data, static_cast<uint32_t>(data.size()));
}
inline std::string FloatWav(const Samples& samples, uint32_t rate = 16000) {
  std::string data(samples.size() * 4, '\0');
  std::memcpy(data.data(), samples.data(), data.size());
  return Wav(rate, 1, 32, true, data, static_cast<uint32_t>(data.size()));
}

}  // namespace softsplice::testing
