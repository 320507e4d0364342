#include "common/media/sound.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/media/sniff.h"

namespace softsplice {
namespace {

std::string Sample(const std::string& name) {
  std::ifstream file("tests/data/demo/samples/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(SoundTest, TellsSoundFilesFromPictures) {
  for (const char* name : {"digits-7.wav", "digits-314.mp3", "digits-314.flac"}) {
    EXPECT_TRUE(LooksLikeSound(Sample(name))) << name;
  }
  for (const char* name : {"circle-square.png", "triangle.jpg", "expected.json"}) {
    EXPECT_FALSE(LooksLikeSound(Sample(name))) << name;
  }
}

TEST(SoundTest, KnowsMp3WithoutATag) {
  // MPEG 1 layer III, 128 kbit/s, 44.1 kHz; the same with a checksum; MPEG 2 layer III; layer II.
  for (const char* head : {"\xff\xfb\x90\x64", "\xff\xfa\x90\x64", "\xff\xf3\x40\xc4",
                           "\xff\xfd\x80\x04", "\xff\xe3\x18\xc4"}) {
    EXPECT_TRUE(LooksLikeSound({head, 4})) << static_cast<int>(head[1]);
  }
  // AAC in ADTS frames: a sound all the same.
  EXPECT_TRUE(LooksLikeSound({"\xff\xf1\x50\x80", 4}));
  // JPEG, JPEG XL, a UTF-16 text; version, bit rate, sampling rate that are not in use; too short.
  for (const char* head : {"\xff\xd8\xff\xe0", "\xff\x0a\xfa\x7f", "\xff\xeb\x90\x64",
                           "\xff\xfb\xf0\x64", "\xff\xfb\x9c\x64"}) {
    EXPECT_FALSE(LooksLikeSound({head, 4})) << static_cast<int>(head[1]);
  }
  EXPECT_FALSE(LooksLikeSound({"\xff\xfb\x90", 3}));
}

TEST(SoundTest, KnowsMp3ThatBeginsInAFrame) {
  const std::string mp3 = Sample("digits-314.mp3");
  EXPECT_TRUE(LooksLikeSound(mp3.substr(mp3.find("\xff\xfb") + 1)));
}

TEST(SoundTest, NeedsTheWholeMagic) {
  EXPECT_FALSE(LooksLikeSound(""));
  EXPECT_FALSE(LooksLikeSound("RIFF"));
  EXPECT_FALSE(LooksLikeSound("RIFF0000WEBP"));
  EXPECT_TRUE(LooksLikeSound("RIFF0000WAVE"));
  EXPECT_FALSE(LooksLikeSound("Ogg"));
}

TEST(SoundTest, BelievesTheMimeType) {
  EXPECT_TRUE(IsSound("audio/L16;rate=16000", "anything"));
  EXPECT_TRUE(IsSound("Audio/WAV", "\x89PNG\r\n\x1a\n"));
  EXPECT_FALSE(IsSound("image/png", "OggS"));
  EXPECT_TRUE(IsSound("", "OggS"));
  EXPECT_TRUE(IsSound("application/ogg", "OggS"));
  EXPECT_FALSE(IsSound("application/octet-stream", "GIF89a"));
}

TEST(SoundTest, KnowsExtensions) {
  EXPECT_EQ(SoundTypeOfName("a/b.MP3"), "audio/mpeg");
  EXPECT_EQ(SoundTypeOfName("x.opus"), "audio/ogg");
  EXPECT_EQ(SoundTypeOfName("voice memo.m4a"), "audio/mp4");
  EXPECT_EQ(SoundTypeOfName("x.png"), "");
  EXPECT_EQ(SoundTypeOfName("mp3"), "");
}

TEST(SniffTest, TellsPicturesSoundsAndTheRest) {
  const auto kind = [](absl::string_view bytes) {
    const NamedFormat* format = FindNamedFormat(bytes);
    return format == nullptr ? MediaKind::kNeither : format->kind;
  };
  EXPECT_EQ(kind("\x89PNG\r\n\x1a\n"), MediaKind::kPicture);
  EXPECT_EQ(kind("RIFF0000WEBP"), MediaKind::kPicture);
  EXPECT_EQ(kind("RIFF0000WAVE"), MediaKind::kSound);
  EXPECT_EQ(kind("0000ftypM4A "), MediaKind::kSound);
  EXPECT_EQ(kind("0000ftypisom"), MediaKind::kSound);
  EXPECT_EQ(kind("\x1a\x45\xdf\xa3"), MediaKind::kSound);
  EXPECT_EQ(kind("%PDF-1.7"), MediaKind::kNeither);
  EXPECT_EQ(kind("hello"), MediaKind::kNeither);
  EXPECT_EQ(LooksLike("0000ftypisom"), "MP4 or M4A (AAC)");
  EXPECT_EQ(LooksLike("UklGRiQAAABXQVZFZm10IB"), "WAV in base64");
  EXPECT_EQ(LooksLike("UklGRiQAAABXRUJQVlA4IB"), "WebP in base64");
  EXPECT_EQ(LooksLike("UklGRiQAAABBVkkgTElTVB"), "AVI in base64");
  EXPECT_EQ(LooksLike("hello"), "");
  for (const char* brand : {"heic", "heix", "hevc", "hevx", "mif1", "msf1", "avif", "avis"}) {
    EXPECT_EQ(kind(absl::StrCat("0000ftyp", brand)), MediaKind::kPicture) << brand;
  }
  // WebP and WAV begin alike, also in base64.
  EXPECT_EQ(LooksLike(absl::Base64Escape("RIFF0000WEBPVP8 ")), "WebP in base64");
  EXPECT_EQ(LooksLike(absl::Base64Escape("RIFF0000WAVEfmt ")), "WAV in base64");
  EXPECT_EQ(LooksLike(absl::Base64Escape("\x89PNG\r\n\x1a\n0000IHDR")), "PNG in base64");
}

}  // namespace
}  // namespace softsplice
