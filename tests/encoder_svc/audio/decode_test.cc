// Every format against other decoders' samples, and every bad input with its own error.
#include "encoder_svc/audio/decode.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numbers>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "encoder_svc/audio/mel.h"
#include "encoder_svc/audio/segments.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/audio/sounds.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::AnyOf;
using ::testing::HasSubstr;

void ExpectError(absl::string_view bytes, absl::string_view mime, absl::StatusCode code,
                 const std::string& message, const std::string& field = "data") {
  const auto sound = Decode(bytes, mime);
  ASSERT_FALSE(sound.ok()) << message;
  EXPECT_EQ(sound.status().code(), code) << sound.status();
  EXPECT_THAT(std::string(sound.status().message()), HasSubstr(message));
  EXPECT_EQ(GetErrorDetail(sound.status()).field, field);
  EXPECT_FALSE(GetErrorDetail(sound.status()).reason.empty());
}

void ExpectInvalid(absl::string_view bytes, const std::string& message) {
  ExpectError(bytes, "", absl::StatusCode::kInvalidArgument, message);
}

struct Case {
  std::string name;
  size_t samples = 0;
  int tolerance = 0;  // of 32768
};
std::vector<Case> Cases() {
  std::vector<Case> cases;
  std::istringstream list(File("sounds.txt"));
  for (Case c; list >> c.name >> c.samples >> c.tolerance;) cases.push_back(c);
  return cases;
}

class EverySound : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (NeedsFfmpeg(FindSoundType(File(GetParam().name), "")->format) && Limits().ffmpeg.empty()) {
      GTEST_SKIP() << "this build has no softsplice-ffmpeg";
    }
  }
};

TEST_P(EverySound, HasTheSamplesOfOtherDecoders) {
  const std::string expected = File(GetParam().name + ".s16");
  const auto sound = Decode(File(GetParam().name));
  ASSERT_TRUE(sound.ok()) << sound.status();
  ASSERT_EQ(expected.size(), 2 * GetParam().samples);
  if (GetParam().name == "vorbis-44k-stereo.ogg") {
    // FFmpeg keeps the last block's padding; the file says where the sound ends.
    EXPECT_EQ(sound->size(), 3200u);
  } else {
    ASSERT_EQ(sound->size(), GetParam().samples);
  }
  double worst = 0;
  for (size_t i = 0; i < sound->size(); ++i) {
    int16_t want = 0;
    std::memcpy(&want, expected.data() + 2 * i, 2);
    worst = std::max(worst, std::abs(double{(*sound)[i]} * 32768 - want));
  }
  EXPECT_LE(worst, GetParam().tolerance);
}

// Without decoding it, where the header says so; then it's right.
TEST_P(EverySound, TellsItsLengthByItsHeader) {
  const std::string bytes = File(GetParam().name);
  const auto header = ReadSoundHeader(bytes, "", Limits());
  ASSERT_TRUE(header.ok()) << header.status();
  const bool tells =
      (absl::EndsWith(GetParam().name, ".wav") && GetParam().name != "mp3-in-16k.wav") ||
      (absl::EndsWith(GetParam().name, ".flac") && GetParam().name != "piped-16k.flac");
  EXPECT_EQ(header->samples.has_value(), tells);
  EXPECT_EQ(header->samples.value_or(0),
            tells ? static_cast<int64_t>(GetParam().samples) : int64_t{0});
}

TEST_P(EverySound, CanBeStoppedBetweenItsBlocks) {
  const std::string bytes = File(GetParam().name);
  const auto header = ReadSoundHeader(bytes, "", Limits());
  ASSERT_TRUE(header.ok()) << header.status();
  const SoundLimits stopped{.ffmpeg = Limits().ffmpeg,
                            .go_on = [] { return absl::CancelledError("stop"); }};
  EXPECT_EQ(DecodeSound(bytes, header->type, stopped).status(), absl::CancelledError("stop"));
}

// Cut anywhere: an error of the sound, or what is there of it.
TEST_P(EverySound, IsRefusedOrShorterWhenCutOff) {
  const std::string whole = File(GetParam().name);
  // A process for each takes its time.
  const size_t step = NeedsFfmpeg(FindSoundType(whole, "")->format) ? 3 : 20;
  for (size_t size = 0; size < whole.size(); size += 1 + size / step) {
    const auto sound = Decode(absl::string_view(whole).substr(0, size));
    if (sound.ok()) {
      EXPECT_LE(sound->size(), GetParam().samples) << size;
    } else {
      EXPECT_EQ(sound.status().code(), absl::StatusCode::kInvalidArgument) << sound.status();
      EXPECT_FALSE(sound.status().message().empty());
    }
  }
}

std::string TestName(const ::testing::TestParamInfo<Case>& test) {
  std::string name = test.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Sounds, EverySound, ::testing::ValuesIn(Cases()), TestName);

TEST(DecodeSound, HasAllSounds) { EXPECT_EQ(Cases().size(), 28u); }

// 0.45 s of the 0.5 s that the headers tell.
TEST(DecodeSound, TellsThatAFileWithAKnownLengthIsTruncated) {
  for (const char* name : {"s16-16k.wav", "s16-44k-stereo.flac", "cbr-44k-stereo.mp3"}) {
    const std::string whole = File(name);
    ExpectInvalid(absl::string_view(whole).substr(0, whole.size() * 9 / 10), "truncated");
  }
}

TEST(DecodeSound, TakesMimeTypesInAnyCaseAndWithParameters) {
  const std::string wav = File("s16-16k.wav"), flac = File("s16-44k-stereo.flac"),
                    ogg = File("opus-48k-stereo.opus"), mp3 = File("vbr-22k.mp3");
  for (const char* mime : {"audio/wav", "audio/x-wav", "audio/wave", " Audio/Vnd.Wave; codecs=1",
                           "audio/vnd.wav", "application/octet-stream"}) {
    EXPECT_TRUE(Decode(wav, mime).ok()) << mime;
  }
  for (const char* mime : {"audio/flac", "audio/x-flac"}) EXPECT_TRUE(Decode(flac, mime).ok());
  for (const char* mime : {"audio/ogg", "audio/opus", "audio/ogg; codecs=opus", "application/ogg",
                           "audio/x-opus+ogg", "audio/oga", "video/ogg"})
    EXPECT_TRUE(Decode(ogg, mime).ok()) << mime;
  for (const char* mime : {"audio/mpeg", "audio/mp3", "AUDIO/X-MP3", "audio/mpga"})
    EXPECT_TRUE(Decode(mp3, mime).ok()) << mime;
}

// A name that nobody knows says nothing.
TEST(DecodeSound, BelievesTheBytesWhereTheMimeTypeIsUnknown) {
  for (const char* mime : {"wav", "audio/x-unheard-of", "audio/*", "text/plain", "binary"}) {
    EXPECT_TRUE(Decode(File("s16-16k.wav"), mime).ok()) << mime;
    EXPECT_TRUE(Decode(File("vbr-22k.mp3"), mime).ok()) << mime;
  }
}

TEST(DecodeSound, RefusesAMimeTypeThatContradictsTheBytes) {
  ExpectError(File("s16-16k.wav"), "audio/mpeg", absl::StatusCode::kInvalidArgument,
              "mime type audio/mpeg contradicts the bytes, which are WAV", "mime_type");
  ExpectError(File("vbr-22k.mp3"), "audio/ogg", absl::StatusCode::kInvalidArgument,
              "contradicts the bytes, which are MP3", "mime_type");
  ExpectError(File("s16-16k.wav"), "audio/L16;rate=16000", absl::StatusCode::kInvalidArgument,
              "contradicts the bytes, which are WAV", "mime_type");
  for (const char* mime : {"audio/aac", "image/png", "image/x-unheard-of", "video/mp4"}) {
    ExpectError(File("s16-16k.wav"), mime, absl::StatusCode::kInvalidArgument,
                absl::StrCat(mime, " contradicts the bytes, which are WAV"), "mime_type");
  }
}

TEST(DecodeSound, RefusesWhatIsNoSoundByName) {
  ExpectInvalid("", "empty (0 bytes)");
  ExpectInvalid("hello, this is no sound", "not a sound in a format that can be read");
  ExpectInvalid(std::string(1000, '\0'),
                "WAV, FLAC, OGG (Vorbis, Opus), MP3, M4A (AAC) and WebM are supported");
  ExpectInvalid("\x89PNG\r\n\x1a\n", "look like PNG");
  ExpectInvalid("UklGRiQAAABXQVZF", "WAV in base64");
  ExpectInvalid("UklGRiQAAABXRUJQVlA4", "WebP in base64");
  ExpectInvalid("RIFF\1\1\1\1WAVE", "the WAV is truncated or corrupt");
  ExpectInvalid("RIFF\1\1\1\1WAVE" + std::string(200, '\x55'), "WAV");
  ExpectInvalid("fLaC" + std::string(200, '\x55'), "FLAC");
  ExpectInvalid("OggS" + std::string(200, '\x55'), "OGG");
  ExpectInvalid(absl::StrCat("\xff\xfb\x90", std::string(200, '\x55')), "MP3");
  ExpectInvalid(absl::StrCat("ID3", LittleEndian(4, 7), "no frame"), "MP3");
  ExpectInvalid(File("adpcm.wav"), "coded as IMA ADPCM");
}

TEST(DecodeSound, ReadsRawPcm) {
  const std::string big_endian("\x40\x00\xc0\x00\x00\x01\x80\x00", 8);
  const auto sound = Decode(big_endian, "audio/L16;rate=16000;channels=1");
  ASSERT_TRUE(sound.ok()) << sound.status();
  EXPECT_EQ(*sound, (Samples{0.5f, -0.5f, 1.f / 32768, -1.f}));
  const auto stereo = Decode(big_endian, "AUDIO/l16; Channels=2; rate=16000");
  ASSERT_TRUE(stereo.ok()) << stereo.status();
  EXPECT_EQ(*stereo, (Samples{0, (1.f / 32768 - 1) / 2}));
  const std::string little_endian("\x00\x40\x00\xc0", 4);
  const auto other = Decode(little_endian, "audio/L16;rate=16000;endianness=little-endian");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(*other, (Samples{0.5f, -0.5f}));
  EXPECT_EQ(Decode(std::string(2 * 44100, '\0'), "audio/L16;rate=44100")->size(), 16000u);
  // Samples that look like the header of an MP3 frame.
  EXPECT_TRUE(Decode("\xff\xfb\x90\x44", "audio/L16;rate=8000").ok());
}

TEST(DecodeSound, RefusesRawPcmWithBadParameters) {
  const auto refused = [](const char* mime, const std::string& message) {
    ExpectError("abcd", mime, absl::StatusCode::kInvalidArgument, message, "mime_type");
  };
  refused("audio/L16", "needs the parameter rate");
  refused("audio/L16;channels=1", "needs the parameter rate");
  refused("audio/L16;rate=", "rate of audio/L16 is \"\"");
  refused("audio/L16;rate=16k", "must be a positive number");
  refused("audio/L16;rate=16000;channels=0", "channels of audio/L16 is \"0\"");
  refused("audio/L16;rate=16000;channels=65", "65 channels");
  refused("audio/L16;rate=99999999", "99999999 Hz");
  refused("audio/L16;rate=8000;endianness=middle", "big-endian or little-endian");
  ExpectError("abc", "audio/L16;rate=8000", absl::StatusCode::kInvalidArgument,
              "3 bytes, no multiple of a frame's 2");
}

TEST(DecodeSound, ReadsAllOfAnMp3OfUnknownLength) {
  // Half of it is silence, in small frames: estimates from its size are short of the end.
  const auto sound = Decode(File("vbr-no-xing.mp3"));
  ASSERT_TRUE(sound.ok()) << sound.status();
  EXPECT_GT(*std::max_element(sound->end() - 8000, sound->end()), 0.3f);
}

TEST(DecodeSound, ReadsAllOfChainedOggStreams) {
  for (const auto& [first, second] :
       {std::pair{"vorbis-44k-stereo.ogg", "second-44k-stereo.ogg"},
        std::pair{"opus-48k-stereo.opus", "second-48k-stereo.opus"}}) {
    const auto alone = Decode(File(first));
    const auto both = Decode(File(first) + File(second));
    SCOPED_TRACE(first);
    ASSERT_TRUE(alone.ok() && both.ok()) << both.status();
    EXPECT_NEAR(static_cast<double>(both->size()), 2.0 * static_cast<double>(alone->size()), 1);
    EXPECT_GT(*std::max_element(both->begin() + static_cast<int64_t>(alone->size()), both->end()),
              0.3f);
  }
  ExpectInvalid(File("vorbis-44k-stereo.ogg") + File("opus-48k-stereo.opus"), "OGG");
}

// A sine of 1 kHz stays one, whatever its rate was; 0.1 s at each end is the filter's.
TEST(DecodeSound, ResamplesATone) {
  for (const int rate : {8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000, 1000 * 31 + 7}) {
    Samples samples(static_cast<size_t>(rate));
    for (size_t i = 0; i < samples.size(); ++i) {
      samples[i] = static_cast<float>(
          0.5 * std::sin(2 * std::numbers::pi * 1000 * static_cast<double>(i) / rate));
    }
    const auto sound = Decode(FloatWav(samples, static_cast<uint32_t>(rate)));
    ASSERT_TRUE(sound.ok()) << sound.status();
    ASSERT_EQ(sound->size(), 16000u) << rate;
    double worst = 0;
    for (size_t i = 1600; i < 14400; ++i) {
      const double want =
          0.5 * std::sin(2 * std::numbers::pi * 1000 * static_cast<double>(i) / 16000);
      worst = std::max(worst, std::abs((*sound)[i] - want));
    }
    // The resampler's 20 bits.
    EXPECT_LT(worst, 2e-6) << rate;
  }
}

TEST(DecodeSound, RefusesWhatIsNotANumber) {
  ExpectInvalid(File("nan.wav"), "infinite or not a number");
  Samples samples(1000, 0.25f);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    samples.back() = bad;
    ExpectInvalid(FloatWav(samples), "infinite or not a number");
    ExpectInvalid(FloatWav(samples, 44100), "infinite or not a number");
  }
  // Finite, but a filter's sum of such is not.
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = i % 3 ? 3.4e38f : -3.4e38f;
  ExpectInvalid(FloatWav(samples, 44100), "too large");
}

TEST(DecodeSound, TakesSilenceOffsetsAndClippingAsTheyAre) {
  EXPECT_EQ(*Decode(Wav16(std::string(3200, '\0'))), Samples(1600, 0));
  EXPECT_EQ(*Decode(FloatWav(Samples(1600, 0.7f))), Samples(1600, 0.7f));
  EXPECT_EQ(*Decode(FloatWav(Samples(1600, 2.5f))), Samples(1600, 2.5f));
}

TEST(DecodeSound, RefusesHeadersThatNoRecordingHas) {
  ExpectInvalid(Wav16("abcd", 16000, 0), "WAV");
  ExpectInvalid(Wav16(std::string(400, 'a'), 16000, 100), "100 channels; 1 to 64");
  ExpectInvalid(Wav16("abcd", 0), "WAV");
  ExpectInvalid(Wav16("abcd", 1), "1 Hz; 1000 to 768000 Hz");
  ExpectInvalid(Wav16("abcd", 2'000'000'000), "2000000000 Hz");
}

TEST(DecodeSound, HonoursItsLimits) {
  const std::string second = Wav16(std::string(32000, '\0'));
  EXPECT_TRUE(Decode(second, "", {.max_duration = absl::Seconds(1)}).ok());
  const auto longer = Decode(second, "", {.max_duration = absl::Milliseconds(999)});
  EXPECT_EQ(longer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(longer.status().message()), HasSubstr("at most 999ms is allowed"));
  EXPECT_EQ(GetErrorDetail(longer.status()).field, "data");
  EXPECT_EQ(GetErrorDetail(longer.status()).reason, "OVER_LIMIT");
  EXPECT_TRUE(Decode(second, "", {.max_bytes = second.size()}).ok());
  EXPECT_EQ(Decode(second, "", {.max_bytes = second.size() - 1}).status().code(),
            absl::StatusCode::kResourceExhausted);
  for (const char* name : {"vbr-no-xing.mp3", "cbr-44k-stereo.mp3", "piped-16k.flac",
                           "opus-48k-stereo.opus", "s16-44k-stereo.flac"}) {
    EXPECT_EQ(Decode(File(name), "", {.max_duration = absl::Milliseconds(50)}).status().code(),
              absl::StatusCode::kResourceExhausted)
        << name;
  }
  EXPECT_EQ(
      Decode(std::string(32000, '\0'), "audio/L16;rate=8000", {.max_duration = absl::Seconds(1.9)})
          .status()
          .code(),
      absl::StatusCode::kResourceExhausted);
}

// Long before they are decoded: 655 kHz of eight channels take as long as minutes of speech.
TEST(DecodeSound, RefusesMoreSamplesThanRecordingsHave) {
  const SoundLimits second{.max_duration = absl::Seconds(1)};
  const auto decode = [&](uint32_t rate, uint16_t channels) {
    return Decode(Wav16(std::string(size_t{2} * rate * channels, '\0'), rate, channels), "", second)
        .status();
  };
  EXPECT_TRUE(decode(48000, 8).ok());
  EXPECT_TRUE(decode(192000, 2).ok());
  const absl::Status status = decode(655000, 8);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status).reason, "OVER_LIMIT");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("5240000 samples at least (8 channels at 655000 Hz); at most 384000"));
}

// The total of a FLAC's samples (36 bits at byte 21) says a month; it has 0.1 s.
TEST(DecodeSound, BelievesNoHeader) {
  std::string flac = File("s16-44k-stereo.flac");
  for (const size_t at : {22u, 23u, 24u, 25u}) flac[at] = '\x7f';
  ExpectError(flac, "", absl::StatusCode::kResourceExhausted, "longer than allowed");
  // None: as long as it is.
  flac = File("s16-44k-stereo.flac");
  flac[21] = static_cast<char>(flac[21] & 0xf0);
  for (const size_t at : {22u, 23u, 24u, 25u}) flac[at] = '\0';
  const auto sound = Decode(flac);
  ASSERT_TRUE(sound.ok()) << sound.status();
  EXPECT_EQ(sound->size(), 1600u);
}

TEST(Segments, CutEvery30SecondsAndLeaveOutWhatGivesNoToken) {
  const auto one = CutIntoSegments(480000);
  ASSERT_TRUE(one.ok());
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ((*one)[0].rows, 750);
  for (const int more : {1, 160}) EXPECT_EQ(CutIntoSegments(480000 + more)->size(), 1u);
  const auto two = CutIntoSegments(480161);
  ASSERT_EQ(two->size(), 2u);
  EXPECT_EQ((*two)[1].first_row, 750);
  EXPECT_EQ((*two)[1].rows, 1);
  EXPECT_EQ((*two)[1].start, absl::Seconds(30));
  EXPECT_EQ((*two)[1].duration, absl::Microseconds(10062.5));
  const auto ten_minutes = CutIntoSegments(int64_t{600} * 16000);
  EXPECT_EQ(ten_minutes->size(), 20u);
  EXPECT_EQ(ten_minutes->back().first_row + ten_minutes->back().rows, 15000);
  const Samples sound(960500);
  EXPECT_EQ(SegmentSamples(sound, 0).size(), 480000u);
  EXPECT_EQ(SegmentSamples(sound, 2).size(), 500u);
}

TEST(Segments, RefuseTooShortASound) {
  for (const int samples : {0, 1, 160}) {
    const absl::Status status = CutIntoSegments(samples).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(samples, " samples")));
    EXPECT_EQ(GetErrorDetail(status).field, "data");
  }
  EXPECT_EQ(CutIntoSegments(161)->front().rows, 1);
}

}  // namespace
}  // namespace softsplice
