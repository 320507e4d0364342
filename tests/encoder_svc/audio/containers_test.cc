// What stands in front of sounds, and OGG's pages.
#include <string>
#include <vector>

#include "common/status/error.h"
#include "encoder_svc/audio/ogg_pages.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/audio/sounds.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::HasSubstr;

// Of so many bytes, its ten included.
std::string Tag(size_t size) {
  const size_t rest = size - 10;
  std::string tag("ID3\4\0\0", 6);
  for (int shift = 21; shift >= 0; shift -= 7) {
    tag.push_back(static_cast<char>(rest >> shift & 0x7F));
  }
  return tag + std::string(rest, '\0');
}

TEST(BehindTags, AreAllFormats) {
  for (const char* name : {"s16-16k.wav", "s16-44k-stereo.flac", "vorbis-44k-stereo.ogg",
                           "opus-48k-stereo.opus", "vbr-22k.mp3"}) {
    const std::string bytes = File(name);
    const auto alone = Decode(bytes);
    for (const std::string& tags : {Tag(10), Tag(139), Tag(5000) + Tag(300)}) {
      const auto sound = Decode(tags + bytes);
      ASSERT_TRUE(sound.ok()) << name << ": " << sound.status();
      EXPECT_EQ(*sound, *alone) << name;
    }
    std::string with_footer = Tag(139);
    with_footer[5] = '\x10';
    EXPECT_EQ(*Decode(with_footer + std::string(10, 'f') + bytes), *alone) << name;
  }
  EXPECT_FALSE(Decode(Tag(139)).ok());
  EXPECT_FALSE(Decode("ID3").ok());
}

std::vector<std::string> Pages(const std::string& bytes) {
  std::vector<std::string> pages;
  for (size_t at = 0; at < bytes.size();) {
    size_t next = bytes.find("OggS", at + 4);
    if (next == std::string::npos) next = bytes.size();
    pages.push_back(bytes.substr(at, next - at));
    at = next;
  }
  return pages;
}

std::string Without(std::vector<std::string> pages, size_t lost) {
  pages.erase(pages.begin() + static_cast<ptrdiff_t>(lost));
  std::string bytes;
  for (const std::string& page : pages) bytes += page;
  return bytes;
}

// The first pages of samples come behind those of the headers.
TEST(OggPages, TellThatOneIsMissingOrDamaged) {
  for (const auto& [name, headers] : {std::pair{"pages.ogg", 2u}, std::pair{"pages.opus", 2u}}) {
    const std::string whole = File(name);
    const std::vector<std::string> pages = Pages(whole);
    ASSERT_GT(pages.size(), headers + 2) << name;
    ASSERT_TRUE(Decode(whole).ok()) << Decode(whole).status();
    for (size_t lost = headers; lost + 1 < pages.size(); ++lost) {
      SCOPED_TRACE(absl::StrCat(name, " ", lost));
      const std::string message = absl::StrCat("page ", lost, " of its sound is missing");
      const absl::Status missing = Decode(Without(pages, lost)).status();
      EXPECT_THAT(std::string(missing.message()), HasSubstr(message));
      EXPECT_EQ(GetErrorDetail(missing).reason, "INVALID_MEDIA");
      std::string damaged = whole;
      damaged[whole.find(pages[lost]) + 60] ^= 1;
      EXPECT_THAT(std::string(Decode(damaged).status().message()), HasSubstr(message));
    }
    // The end may be missing, as that of any stream.
    const auto shorter = Decode(Without(pages, pages.size() - 1));
    ASSERT_TRUE(shorter.ok()) << shorter.status();
    EXPECT_LT(shorter->size(), Decode(whole)->size());
  }
}

TEST(OggPages, AreLookedForOnlySoOften) {
  std::string bytes = File("pages.opus");
  std::string page_of_nothing = "OggS" + std::string(22, '\0') + '\xff' + std::string(255, '\xff');
  for (int i = 0; i < 1001; ++i) bytes += page_of_nothing;
  bytes += std::string(70000, '\0');
  EXPECT_THAT(std::string(Decode(bytes).status().message()), HasSubstr("too many places"));
}

TEST(OggPages, AreOfSoManyStreams) {
  const std::string whole = File("pages.opus"), first = Pages(whole)[0];
  const auto beginning = [&](int times) {
    std::string bytes;
    for (int i = 0; i < times; ++i) bytes += first;
    std::string recounted;
    return ReadOggPages(bytes, recounted).status();
  };
  EXPECT_EQ(beginning(255), absl::OkStatus());
  EXPECT_THAT(std::string(beginning(256).message()), HasSubstr("more than 255 streams"));
}

TEST(OggPages, AreLeftAloneWhereTheirPositionsAreRight) {
  for (const char* name : {"opus-48k-stereo.opus", "pages.opus", "pages.ogg"}) {
    const std::string bytes = File(name);
    std::string recounted;
    const auto pages = ReadOggPages(bytes, recounted);
    ASSERT_TRUE(pages.ok());
    EXPECT_EQ(pages->data(), bytes.data()) << name;
  }
}

}  // namespace
}  // namespace softsplice
