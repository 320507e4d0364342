#include "common/media/kind.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/media/sniff.h"
#include "tests/support/read_file.h"

namespace softsplice {
namespace {

using testing::ReadFile;

std::string Sample(const std::string& name) { return ReadFile("tests/data/demo/samples/" + name); }
std::string Sound(const std::string& name) { return ReadFile("tests/data/audio/" + name); }

ContentKind KindOf(absl::string_view data) { return softsplice::KindOf("", data); }

TEST(KindTest, TellsSoundFilesFromPictures) {
  for (const char* name : {"digits-7.wav", "digits-314.mp3", "digits-314.flac"}) {
    EXPECT_EQ(KindOf(Sample(name)), ContentKind::kSound) << name;
  }
  for (const char* name : {"circle-square.png", "triangle.jpg"}) {
    EXPECT_EQ(KindOf(Sample(name)), ContentKind::kPicture) << name;
  }
  EXPECT_EQ(KindOf(Sample("expected.json")), ContentKind::kNeither);
}

TEST(KindTest, KnowsMp3WithoutATag) {
  // MPEG 1 layer III, 128 kbit/s, 44.1 kHz; the same with a checksum; MPEG 2 layer III; layer II.
  for (const char* head : {"\xff\xfb\x90\x64", "\xff\xfa\x90\x64", "\xff\xf3\x40\xc4",
                           "\xff\xfd\x80\x04", "\xff\xe3\x18\xc4"}) {
    EXPECT_EQ(KindOf({head, 4}), ContentKind::kSound) << static_cast<int>(head[1]);
  }
  // AAC in ADTS frames: a sound all the same.
  EXPECT_EQ(KindOf({"\xff\xf1\x50\x80", 4}), ContentKind::kSound);
  // JPEG, JPEG XL, a UTF-16 text; version, bit rate, sampling rate that are not in use; too short.
  for (const char* head : {"\xff\xd8\xff\xe0", "\xff\x0a\xfa\x7f", "\xff\xeb\x90\x64",
                           "\xff\xfb\xf0\x64", "\xff\xfb\x9c\x64"}) {
    EXPECT_NE(KindOf({head, 4}), ContentKind::kSound) << static_cast<int>(head[1]);
  }
  EXPECT_EQ(KindOf({"\xff\xfb\x90", 3}), ContentKind::kNeither);
}

TEST(KindTest, KnowsMp3ThatBeginsInAFrame) {
  const std::string mp3 = Sample("digits-314.mp3");
  EXPECT_EQ(KindOf(mp3.substr(mp3.find("\xff\xfb") + 1)), ContentKind::kSound);
}

TEST(KindTest, NeedsTheWholeMagic) {
  EXPECT_EQ(KindOf(""), ContentKind::kNeither);
  EXPECT_EQ(KindOf("RIFF"), ContentKind::kNeither);
  EXPECT_EQ(KindOf("RIFF0000WEBP"), ContentKind::kPicture);
  EXPECT_EQ(KindOf("RIFF0000WAVE"), ContentKind::kSound);
  EXPECT_EQ(KindOf("Ogg"), ContentKind::kNeither);
}

TEST(KindTest, LooksForTracksOfPictures) {
  for (const char* name : {"video.mp4", "video.webm", "silent.mp4"}) {
    EXPECT_EQ(KindOf(Sound(name)), ContentKind::kVideo) << name;
  }
  for (const char* name : {"aac-44k-stereo.m4a", "cover.m4a", "opus-48k.webm"}) {
    EXPECT_EQ(KindOf(Sound(name)), ContentKind::kSound) << name;
    EXPECT_EQ(softsplice::KindOf("video/mp4", Sound(name)), ContentKind::kSound) << name;
  }
  // An audio book, whose chapters have pictures.
  std::string book = Sound("video.mp4");
  book.replace(4, 8, "ftypM4B ");
  EXPECT_EQ(KindOf(book), ContentKind::kSound);
  // Cut off before its tracks: what people say that it is.
  const std::string cut = Sound("video.mp4").substr(0, 60);
  EXPECT_EQ(KindOf(cut), ContentKind::kSound);
  EXPECT_EQ(softsplice::KindOf("video/mp4", cut), ContentKind::kVideo);
}

TEST(KindTest, BelievesTheMimeType) {
  using softsplice::KindOf;
  EXPECT_EQ(KindOf("audio/L16;rate=16000", "anything"), ContentKind::kSound);
  EXPECT_EQ(KindOf("Audio/WAV", "\x89PNG\r\n\x1a\n"), ContentKind::kSound);
  EXPECT_EQ(KindOf("audio/mp4", Sound("video.mp4")), ContentKind::kSound);
  EXPECT_EQ(KindOf("image/png", "OggS"), ContentKind::kPicture);
  EXPECT_EQ(KindOf("Video/MP4", "\x89PNG\r\n\x1a\n"), ContentKind::kVideo);
  EXPECT_EQ(KindOf("video/x-msvideo", "RIFF0000AVI "), ContentKind::kVideo);
  EXPECT_EQ(KindOf("video/ogg", "OggS"), ContentKind::kSound);
  EXPECT_EQ(KindOf("", "OggS"), ContentKind::kSound);
  EXPECT_EQ(KindOf("application/ogg", "OggS"), ContentKind::kSound);
  EXPECT_EQ(KindOf("application/octet-stream", "GIF89a"), ContentKind::kPicture);
}

TEST(KindTest, KnowsExtensions) {
  EXPECT_EQ(TypeOfName("a/b.MP3"), "audio/mpeg");
  EXPECT_EQ(TypeOfName("x.opus"), "audio/ogg");
  EXPECT_EQ(TypeOfName("voice memo.m4a"), "audio/mp4");
  EXPECT_EQ(TypeOfName("IMG_0001.MOV"), "video/quicktime");
  EXPECT_EQ(TypeOfName("x.mp4"), "video/mp4");
  EXPECT_EQ(TypeOfName("x.m4v"), "video/mp4");
  EXPECT_EQ(TypeOfName("x.webm"), "video/webm");
  EXPECT_EQ(TypeOfName("x.mkv"), "video/x-matroska");
  EXPECT_EQ(TypeOfName("x.png"), "");
  EXPECT_EQ(TypeOfName("mp3"), "");
}

TEST(SniffTest, TellsPicturesSoundsAndTheRest) {
  const auto kind = [](absl::string_view bytes) {
    const NamedFormat* format = FindNamedFormat(bytes);
    return format == nullptr ? ContentKind::kNeither : format->kind;
  };
  EXPECT_EQ(kind("\x89PNG\r\n\x1a\n"), ContentKind::kPicture);
  EXPECT_EQ(kind("RIFF0000WEBP"), ContentKind::kPicture);
  EXPECT_EQ(kind("RIFF0000WAVE"), ContentKind::kSound);
  EXPECT_EQ(kind("0000ftypM4A "), ContentKind::kSound);
  EXPECT_EQ(kind("0000ftypM4B "), ContentKind::kSound);
  EXPECT_EQ(kind("0000ftypisom"), ContentKind::kVideo);
  EXPECT_EQ(kind("\x1a\x45\xdf\xa3"), ContentKind::kVideo);
  EXPECT_EQ(kind("%PDF-1.7"), ContentKind::kNeither);
  EXPECT_EQ(kind("hello"), ContentKind::kNeither);
  EXPECT_EQ(LooksLike("0000ftypisom"), "MP4 or M4A (AAC)");
  EXPECT_EQ(LooksLike("UklGRiQAAABXQVZFZm10IB"), "WAV in base64");
  EXPECT_EQ(LooksLike("UklGRiQAAABXRUJQVlA4IB"), "WebP in base64");
  EXPECT_EQ(LooksLike("UklGRiQAAABBVkkgTElTVB"), "AVI in base64");
  EXPECT_EQ(LooksLike("hello"), "");
  for (const char* brand : {"heic", "heix", "hevc", "hevx", "mif1", "msf1", "avif", "avis"}) {
    EXPECT_EQ(kind(absl::StrCat("0000ftyp", brand)), ContentKind::kPicture) << brand;
  }
  // WebP and WAV begin alike, also in base64.
  EXPECT_EQ(LooksLike(absl::Base64Escape("RIFF0000WEBPVP8 ")), "WebP in base64");
  EXPECT_EQ(LooksLike(absl::Base64Escape("RIFF0000WAVEfmt ")), "WAV in base64");
  EXPECT_EQ(LooksLike(absl::Base64Escape("\x89PNG\r\n\x1a\n0000IHDR")), "PNG in base64");
}

}  // namespace
}  // namespace softsplice
