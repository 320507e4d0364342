// Decodes videos as the encoder does, for comparing with other decoders: FILE.rgb becomes the
// pixels of its frames, FILE.json what is known of them, or what is wrong.
//
//   decode_videos MAX_FRAMES FILE...
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "encoder_svc/video/decode.h"

namespace softsplice {
namespace {

nlohmann::json Decode(const std::string& bytes, int max_frames, std::ostream& pixels) {
  const VideoLimits limits{.max_bytes = 1 << 30,
                           .max_pixels = 1 << 28,
                           .max_duration = absl::Hours(10),
                           .ffmpeg = SOFTSPLICE_FFMPEG_PROGRAM};
  nlohmann::json known;
  const VideoReceiver receiver{
      .on_header =
          [&](const VideoHeader& header) {
            known = {{"width", header.width},
                     {"height", header.height},
                     {"duration", absl::ToDoubleSeconds(header.duration)},
                     {"has_sound", header.has_sound}};
            for (const absl::Duration time : header.times) {
              known["nanoseconds"].push_back(absl::ToInt64Nanoseconds(time));
            }
            return absl::OkStatus();
          },
      .on_frame =
          [&](const Picture& frame) {
            pixels.write(reinterpret_cast<const char*>(frame.rgb.data()),
                         static_cast<std::streamsize>(frame.rgb.size()));
            return absl::OkStatus();
          }};
  absl::StatusOr<VideoFormat> format = FindVideoFormat(bytes, "", limits);
  const absl::Status status =
      format.ok() ? DecodeVideo(bytes, *format, max_frames, limits, receiver) : format.status();
  if (!status.ok()) known["error"] = std::string(status.message());
  return known;
}

void DecodeFile(const std::string& name, int max_frames) {
  std::ifstream file(name, std::ios::binary);
  std::ofstream pixels(name + ".rgb", std::ios::binary);
  std::ofstream(name + ".json") << Decode({std::istreambuf_iterator<char>(file), {}}, max_frames,
                                          pixels);
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  for (int i = 2; i < argc; ++i) softsplice::DecodeFile(argv[i], std::atoi(argv[1]));
}
