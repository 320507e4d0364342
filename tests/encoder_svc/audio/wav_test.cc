// WAVs whose sizes are not true, as recorders, pipes and careless writers leave them. What they
// hold is what FFmpeg found in the file that they are made of (make_sounds.py).
#include "encoder_svc/audio/wav.h"

#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/audio/sounds.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::HasSubstr;

constexpr size_t kRiffSize = 4, kDataSize = 40, kHeader = 44;

Samples Expected(const std::string& name) {
  const std::string bytes = File(name + ".s16");
  std::vector<int16_t> values(bytes.size() / 2);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  Samples samples;
  for (const int16_t value : values) samples.push_back(static_cast<float>(value) / 32768);
  return samples;
}

std::string With(std::string bytes, size_t at, const std::string& part) {
  return bytes.replace(at, part.size(), part);
}

// Of 3,200 bytes of samples.
std::string Sized(uint32_t riff, uint32_t data) {
  const std::string whole = File("s16-16k.wav");
  EXPECT_EQ(whole.size(), kHeader + 3200);
  return With(With(whole, kRiffSize, LittleEndian(riff, 4)), kDataSize, LittleEndian(data, 4));
}

void ExpectWhole(const std::string& bytes) {
  const auto sound = Decode(bytes);
  ASSERT_TRUE(sound.ok()) << sound.status();
  EXPECT_EQ(*sound, Expected("s16-16k.wav"));
  EXPECT_EQ(ReadSoundHeader(bytes, "", {})->samples, int64_t{1600});
}

TEST(WavSizes, AreReadToTheEndWhereTheyAreUnknown) {
  for (const uint32_t riff : {0u, 36u, 3236u, 0x7FFF0024u, 0xFFFFFFFFu}) {
    for (const uint32_t data : {0u, 0x7FFF0000u, 0xFFFFFFFFu}) {
      SCOPED_TRACE(absl::StrCat(riff, " ", data));
      ExpectWhole(Sized(riff, data));
    }
  }
}

TEST(WavSizes, AreReadToTheEndWhereOnlyTheSamplesOnesAreTooLarge) {
  for (const uint32_t riff : {0u, 3236u, 3244u}) {  // none, right, with its own eight bytes
    for (const uint32_t data : {3208u, 3244u, 3200u + 4096u}) {
      SCOPED_TRACE(absl::StrCat(riff, " ", data));
      ExpectWhole(Sized(riff, data));
    }
  }
}

TEST(WavSizes, TellOfATruncatedFileWhereBothSaySo) {
  const std::string longer = Sized(3236 + 800, 3200 + 800);
  EXPECT_THAT(std::string(Decode(longer).status().message()), HasSubstr("the WAV is truncated"));
  EXPECT_THAT(std::string(ReadSoundHeader(longer, "", {}).status().message()),
              HasSubstr("the WAV is truncated"));
}

TEST(WavSizes, AreBelievedWhereTheyFit) {
  const auto sound = Decode(Sized(3236, 1600));
  ASSERT_TRUE(sound.ok()) << sound.status();
  EXPECT_EQ(sound->size(), 800u);
}

// What other programs put behind the samples is none.
TEST(WavSizes, EndBeforeOtherChunks) {
  std::string listed = File("s16-16k.wav") + "LIST" + LittleEndian(8, 4) + "INFOabcd";
  listed = With(listed, kRiffSize, LittleEndian(listed.size() - 8, 4));
  ExpectWhole(listed);
}

// One that libsndfile would follow backwards, for ever.
TEST(WavSizes, OfOtherChunksDoNotMatter) {
  const std::string whole = File("s16-16k.wav");
  const std::string list = "LIST" + LittleEndian(26, 4) + "INFO:SXY" + LittleEndian(0xFFFFFFF3, 4) +
                           std::string(14, '.');
  ExpectWhole(With(whole.substr(0, 36) + list + whole.substr(36), kRiffSize,
                   LittleEndian(whole.size() + list.size() - 8, 4)));
  EXPECT_FALSE(Decode(whole.substr(0, 36) + list).ok());
  EXPECT_FALSE(Decode(whole.substr(0, 12) + list + whole.substr(36)).ok());
}

// 64-bit sizes in a chunk of their own; BW64 is the broadcasters' name for it.
TEST(WavSizes, AreReadFromDs64) {
  const std::string rf64 = File("rf64-16k.wav");
  const size_t sizes = rf64.find("ds64") + 8;
  ASSERT_LT(sizes, rf64.size());
  const Samples expected = Expected("rf64-16k.wav");
  for (const char* name : {"RF64", "BW64"}) {
    const std::string named = With(rf64, 0, name);
    EXPECT_EQ(*Decode(named), expected) << name;
    // As a recorder leaves it that crashed.
    EXPECT_EQ(*Decode(With(named, sizes, std::string(16, '\0'))), expected) << name;
    EXPECT_EQ(*Decode(With(named, sizes, std::string(16, '\xff'))), expected) << name;
    const std::string longer = LittleEndian(rf64.size() + 800, 8) + LittleEndian(2400, 8);
    EXPECT_THAT(std::string(Decode(With(named, sizes, longer)).status().message()),
                HasSubstr("truncated"));
  }
}

TEST(WavSizes, MakeNoSamplesOfNothing) {
  for (const std::string& bytes : {File("s16-16k.wav"), File("mp3-in-16k.wav")}) {
    for (const size_t size : {12u, 20u, 36u, 43u, 44u}) {
      const auto sound = Decode(absl::string_view(bytes).substr(0, size));
      EXPECT_TRUE(!sound.ok() || sound->empty()) << size;
    }
  }
}

}  // namespace
}  // namespace softsplice
