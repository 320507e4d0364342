// Decodes sound files as the encoder does, for comparing with other decoders: FILE.f32 becomes its
// samples, mono at 16 kHz, or FILE.error what is wrong with it.
//
//   decode_files FILE...
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "encoder_svc/audio/decode.h"

namespace softsplice {
namespace {

absl::StatusOr<std::vector<float>> Decode(const std::string& bytes, const SoundLimits& limits) {
  const auto header = ReadSoundHeader(bytes, "", limits);
  if (!header.ok()) return header.status();
  return DecodeSound(bytes, header->type, limits);
}

void DecodeFile(const std::string& name, const SoundLimits& limits) {
  std::ifstream file(name, std::ios::binary);
  const auto sound = Decode({std::istreambuf_iterator<char>(file), {}}, limits);
  if (sound.ok()) {
    std::ofstream(name + ".f32", std::ios::binary)
        .write(reinterpret_cast<const char*>(sound->data()),
               static_cast<std::streamsize>(sound->size() * sizeof(float)));
  } else {
    std::ofstream(name + ".error") << sound.status().message();
  }
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    softsplice::DecodeFile(argv[i], {.ffmpeg = SOFTSPLICE_FFMPEG_PROGRAM});
  }
}
