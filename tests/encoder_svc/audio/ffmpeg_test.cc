// MP4, AAC and WebM that are cut, lie, never end or hold more than a sound.
#include "encoder_svc/audio/ffmpeg.h"

#include <string>

#include "common/status/error.h"
#include "common/time/steady.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/audio/sounds.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::HasSubstr;

TEST(WithoutFfmpeg, SaysSo) {
  for (const auto& [file, name] : {std::pair{"aac-44k-stereo.m4a", "MP4"},
                                   {"aac-16k.aac", "AAC"},
                                   {"opus-48k.webm", "WebM"}}) {
    const absl::Status status = ReadSoundHeader(File(file), "", {}).status();
    EXPECT_EQ(GetErrorDetail(status).reason, "INVALID_MEDIA");
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("the bytes are ", name, ", which this build")));
    EXPECT_THAT(std::string(status.message()), HasSubstr("no softsplice-ffmpeg beside it"));
    EXPECT_EQ(DecodeSound(File(file), *FindSoundType(File(file), ""), {}).status(), status);
  }
}

class WithFfmpeg : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Limits().ffmpeg.empty()) GTEST_SKIP() << "this build has no softsplice-ffmpeg";
  }
  static void ExpectError(const absl::StatusOr<Samples>& sound, const std::string& reason,
                          const std::string& message) {
    ASSERT_FALSE(sound.ok()) << message;
    EXPECT_EQ(GetErrorDetail(sound.status()).reason, reason) << sound.status();
    EXPECT_THAT(std::string(sound.status().message()), HasSubstr(message));
  }
};

TEST_F(WithFfmpeg, TakesItsMimeTypes) {
  const std::string mp4 = File("aac-44k-stereo.m4a"), aac = File("aac-16k.aac"),
                    webm = File("opus-48k.webm");
  for (const char* mime : {"audio/mp4", "audio/m4a", "audio/x-m4a", "audio/aac", "audio/3gpp",
                           "video/mp4", "video/quicktime", "application/octet-stream"}) {
    EXPECT_TRUE(Decode(mp4, mime).ok()) << mime;
  }
  for (const char* mime : {"audio/aac", "audio/x-aac", "audio/aacp", "audio/mp4"}) {
    EXPECT_TRUE(Decode(aac, mime).ok()) << mime;
  }
  for (const char* mime :
       {"audio/webm", "video/webm", "audio/webm; codecs=opus", "video/x-matroska"}) {
    EXPECT_TRUE(Decode(webm, mime).ok()) << mime;
  }
  for (const char* mime : {"audio/wav", "audio/mpeg", "audio/webm", "image/avif"}) {
    ExpectError(Decode(mp4, mime), "INVALID_FIELD", "contradicts the bytes, which are MP4");
  }
}

TEST_F(WithFfmpeg, TellsThatTheyAreTruncated) {
  for (const char* name : {"aac-44k-stereo.m4a", "alac-44k.m4a"}) {
    const std::string whole = File(name);
    for (const size_t size : {whole.size() / 3, whole.size() / 2, whole.size() * 3 / 4}) {
      ExpectError(Decode(absl::string_view(whole).substr(0, size)), "INVALID_MEDIA", "the MP4 ");
    }
  }
  const std::string webm = File("three-seconds.webm");
  EXPECT_EQ(Decode(webm)->size(), 48000u);
  ExpectError(Decode(absl::string_view(webm).substr(0, webm.size() / 2)), "INVALID_MEDIA",
              "of 3.0 s");
}

TEST_F(WithFfmpeg, LeavesAVideoOutOnlyForWhoAsksForItsSound) {
  for (const char* name : {"video.mp4", "video.webm"}) {
    const std::string bytes = File(name), container = std::string(name).substr(6);
    for (const std::string& mime : {std::string(), "video/" + container}) {
      ExpectError(Decode(bytes, mime), "INVALID_MEDIA",
                  "holds a video; with a mime type of audio/...");
    }
    const auto sound = Decode(bytes, "audio/" + container);
    ASSERT_TRUE(sound.ok()) << sound.status();
    EXPECT_GE(sound->size(), 3200u);
  }
  // A picture of the record is none that moves.
  EXPECT_TRUE(Decode(File("cover.m4a")).ok()) << Decode(File("cover.m4a")).status();
}

TEST_F(WithFfmpeg, NamesWhatItDoesNotRead) {
  ExpectError(Decode(File("ac3.m4a")), "INVALID_MEDIA", "the MP4 is coded as ac3, which can't");
  ExpectError(Decode(File("silent.mp4"), "audio/mp4"), "INVALID_MEDIA", "has no sound in it");
  ExpectError(Decode(absl::string_view("\0\0\0\x10"
                                       "ftypM4A \0\0\0\0",
                                       16)),
              "INVALID_MEDIA", "the MP4 is truncated or corrupt");
  ExpectError(Decode("\x1a\x45\xdf\xa3 no more of it"), "INVALID_MEDIA", "the WebM is truncated");
  ExpectError(Decode("\xff\xf1\x50\x80 no more of it"), "INVALID_MEDIA", "the AAC");
}

// It says so at its beginning, or goes on for longer.
TEST_F(WithFfmpeg, RefusesWhatIsTooLong) {
  SoundLimits limits = Limits();
  limits.max_duration = absl::Milliseconds(50);
  for (const char* name : {"aac-44k-stereo.m4a", "aac-16k.aac", "opus-48k.webm"}) {
    ExpectError(Decode(File(name), "", limits), "OVER_LIMIT", "longer than allowed");
  }
  ExpectError(Decode(File("three-seconds.webm"), "", limits), "OVER_LIMIT", "3.008s as it says");
}

// The header of 0.2 s of sound says 13 hours.
TEST_F(WithFfmpeg, RefusesWhatClaimsHours) {
  std::string mp4 = File("aac-44k-stereo.m4a");
  for (const char* box : {"mdhd", "mvhd", "tkhd"}) {
    const size_t at = mp4.find(box) + 4 + (std::string(box) == "tkhd" ? 20 : 16);
    mp4.replace(at, 4, std::string("\x7f\xff\xff\xff", 4));
  }
  mp4.replace(mp4.find("elst") + 12, 4, std::string("\x7f\xff\xff\xff", 4));
  const size_t sizes = mp4.find("stts");
  mp4.replace(sizes + 12, 8, std::string("\0\0\0\x0a\x0c\xcc\xcc\xcc", 8));
  ExpectError(Decode(mp4), "OVER_LIMIT", "longer than allowed");
}

// Thirteen hours of silence in 8 MiB: frames of AAC that say nothing, over and over.
TEST_F(WithFfmpeg, EndsAStreamThatDoesNot) {
  const std::string frames = File("silence.aac");
  std::string stream;
  while (stream.size() < 8 << 20) stream += frames;
  const absl::Duration start = SteadyNow();
  ExpectError(Decode(stream), "OVER_LIMIT", "longer than allowed");
  EXPECT_LT(SteadyNow() - start, absl::Seconds(30));
}

// A table of a thousand million offsets.
TEST_F(WithFfmpeg, RefusesWhatTakesTooMuchMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer ends a program that gets no memory";
#endif
  std::string mp4 = File("aac-44k-stereo.m4a");
  mp4.replace(mp4.find("stco") + 8, 4, std::string("\x0f\xff\xff\xff", 4));
  ExpectError(Decode(mp4), "OVER_LIMIT", "more memory to be decoded than the 64 MiB");
}

TEST_F(WithFfmpeg, EndsWithWhomItIsFor) {
  SoundLimits limits = Limits();
  int asked = 0;
  limits.go_on = [&] { return ++asked < 2 ? absl::OkStatus() : absl::CancelledError("gone"); };
  EXPECT_EQ(Decode(File("three-seconds.webm"), "", limits).status(), absl::CancelledError("gone"));
}

TEST_F(WithFfmpeg, TellsThatItsProgramDoesNotWork) {
  SoundLimits limits = Limits();
  limits.ffmpeg = "/bin/true";
  EXPECT_EQ(Decode(File("aac-16k.aac"), "", limits).status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace softsplice
