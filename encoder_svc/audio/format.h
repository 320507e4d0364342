// Which sound format some bytes are, by their first bytes and the stated mime type.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace softsplice {

enum class SoundFormat { kWav, kFlac, kOgg, kMp3, kMp4, kAac, kWebm, kPcm };

absl::string_view Name(SoundFormat format);  // "WAV"

// Whether softsplice-ffmpeg reads it.
bool NeedsFfmpeg(SoundFormat format);

struct SoundType {
  SoundFormat format = SoundFormat::kWav;
  // Of raw PCM, which says nothing of itself.
  int rate = 0;
  int channels = 1;
  bool little_endian = false;
  // Of MP4 and WebM: stated to be a sound, so that pictures that move in it are left out. Else they
  // are refused.
  bool sound_alone = false;
};

// `bytes` without the ID3v2 tags that some programs put in front of files of any format.
absl::string_view BehindTags(absl::string_view bytes);

// The type of `bytes`. They decide; `mime_type`, in any case and with parameters, only if it names
// another format that is known, or a picture. Raw 16-bit PCM is told by its mime type alone, as
// RFC 2586 has it: audio/L16;rate=R;channels=C, most significant byte first; one channel if not
// stated. Many write the other order: endianness=little-endian asks for it.
// INVALID_ARGUMENT: no bytes, a format we don't read, or a type that contradicts the bytes.
absl::StatusOr<SoundType> FindSoundType(absl::string_view bytes, absl::string_view mime_type);

}  // namespace softsplice
