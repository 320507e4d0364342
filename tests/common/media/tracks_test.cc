// Tracks of containers by hand.
#include "common/media/tracks.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

std::string Number(uint64_t value, int bytes) {
  std::string out;
  while (bytes-- > 0) out.push_back(static_cast<char>(value >> (8 * bytes)));
  return out;
}

std::string Box(absl::string_view type, absl::string_view content) {
  return absl::StrCat(Number(8 + content.size(), 4), type, content);
}
std::string LongBox(absl::string_view type, absl::string_view content) {
  return absl::StrCat(Number(1, 4), type, Number(16 + content.size(), 8), content);
}
std::string OpenBox(absl::string_view type, absl::string_view content) {
  return absl::StrCat(Number(0, 4), type, content);
}
std::string Handler(absl::string_view kind) {
  return Box("hdlr", absl::StrCat(Number(0, 8), kind, std::string(13, '\0')));
}
std::string Track(absl::string_view kind) {
  return Box("trak", Box("tkhd", Number(0, 8)) + Box("mdia", Box("mdhd", "") + Handler(kind)));
}
const std::string kBrand = Box("ftyp", "isom");

void ExpectTracks(absl::string_view bytes, bool video, bool sound) {
  const std::optional<Tracks> tracks = FindTracks(bytes);
  ASSERT_TRUE(tracks);
  EXPECT_EQ(tracks->video, video);
  EXPECT_EQ(tracks->sound, sound);
}

TEST(FindTracks, ReadsMp4) {
  const std::string sound = Track("soun"), video = Track("vide"), text = Track("text");
  ExpectTracks(kBrand + Box("moov", sound), false, true);
  ExpectTracks(kBrand + Box("moov", text + video), true, false);
  ExpectTracks(kBrand + Box("mdat", "....") + Box("moov", Box("mvhd", "") + sound + video), true,
               true);
  ExpectTracks(kBrand + LongBox("mdat", "....") + LongBox("moov", video), true, false);
  ExpectTracks(kBrand + OpenBox("moov", video), true, false);
  ExpectTracks(Box("moov", video), true, false);  // QuickTime, without a brand
  ExpectTracks(Box("wide", "") + Box("mdat", "....") + Box("moov", sound), false, true);
  // What only lies where a track would say it.
  ExpectTracks(kBrand + Box("moov", Box("meta", Handler("vide"))), false, false);
  ExpectTracks(kBrand + video + Box("free", Box("moov", video)), false, false);
}

TEST(FindTracks, EndsWhereMp4Does) {
  const std::string whole = kBrand + Box("moov", Track("soun") + Track("vide"));
  for (size_t size = 8; size < whole.size(); ++size) {
    const std::string part = whole.substr(0, size);  // with an end that AddressSanitizer sees
    EXPECT_TRUE(FindTracks(part)) << size;
  }
  ExpectTracks(whole.substr(0, whole.size() - 20), false, true);
  // Sizes that are none.
  ExpectTracks(kBrand + Number(7, 4) + "moov", false, false);
  ExpectTracks(kBrand + Number(1, 4) + "moov" + Number(15, 8), false, false);
  ExpectTracks(kBrand + Number(1, 4) + "moov" + Number(~uint64_t{0}, 8), false, false);
  ExpectTracks(kBrand + Number(1, 4) + "moov", false, false);
}

std::string Element(absl::string_view id, absl::string_view content) {
  return absl::StrCat(id, Number(0x4000 | content.size(), 2), content);
}
constexpr char kUnknown[] = "\x01\xff\xff\xff\xff\xff\xff\xff";
const std::string kEbml = "\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01";
constexpr char kSegment[] = "\x18\x53\x80\x67", kTracks[] = "\x16\x54\xae\x6b", kEntry[] = "\xae",
               kCluster[] = "\x1f\x43\xb6\x75";
const std::string kVideo = "\x83\x81\x01", kSound = "\x83\x81\x02";

TEST(FindTracks, ReadsWebm) {
  const std::string number = "\xd7\x81\x01";
  const std::string sound = Element(kEntry, number + kSound), video = Element(kEntry, kVideo);
  ExpectTracks(kEbml + Element(kSegment, Element(kTracks, sound)), false, true);
  ExpectTracks(kEbml + Element(kSegment, Element(kTracks, sound + video)), true, true);
  ExpectTracks(kEbml + kSegment + kUnknown + Element(kTracks, video), true, false);
  ExpectTracks(kEbml + kSegment + "\xff" + kTracks + kUnknown + video, true, false);
  // A cluster in front, whose end nobody knows; its blocks have ends.
  ExpectTracks(kEbml + kSegment + kUnknown + kCluster + kUnknown + "\xa3\x83" + kVideo +
                   Element(kTracks, sound),
               false, true);
  // Subtitles.
  ExpectTracks(kEbml + Element(kSegment, Element(kTracks, Element(kEntry, "\x83\x81\x11"))), false,
               false);
}

TEST(FindTracks, EndsWhereWebmDoes) {
  const std::string whole = kEbml + Element(kSegment, Element(kTracks, Element(kEntry, kVideo)));
  for (size_t size = 4; size < whole.size(); ++size) {
    const std::string part = whole.substr(0, size);
    EXPECT_TRUE(FindTracks(part)) << size;
  }
  ExpectTracks(kEbml + std::string(20, '\0') + kVideo, false, false);
  ExpectTracks(kEbml + "\xec\x01\xff\xff\xff\xff\xff\xff\xfe" + kVideo, false, false);
}

TEST(IsCutOff, LooksForTheEnd) {
  const std::string mp4 =
      kBrand + Box("moov", Track("vide")) + Box("moof", "....") + Box("mdat", "..");
  for (size_t size = kBrand.size(); size <= mp4.size(); ++size) {
    const bool in_moov = size >= kBrand.size() + 8 && size < mp4.find("moof") - 4;
    const bool in_moof = size >= mp4.find("moof") + 4 && size < mp4.find("moof") + 8;
    EXPECT_EQ(IsCutOff(mp4.substr(0, size)), in_moov || in_moof) << size;
  }
  EXPECT_FALSE(IsCutOff(mp4 + "what a phone adds"));
  EXPECT_TRUE(IsCutOff(kBrand + Number(1, 4) + "moof" + Number(~uint64_t{0}, 8)));
  const std::string webm = kEbml + Element(kSegment, Element(kTracks, Element(kEntry, kVideo)));
  for (size_t size = kEbml.size() + 6; size < webm.size(); ++size) {
    EXPECT_TRUE(IsCutOff(webm.substr(0, size))) << size;
  }
  EXPECT_FALSE(IsCutOff(webm));
  EXPECT_FALSE(IsCutOff(webm + "more"));
  EXPECT_FALSE(IsCutOff(kEbml + kSegment + kUnknown + kTracks));
}

TEST(FindTracks, KnowsWhatIsNoContainer) {
  EXPECT_FALSE(FindTracks(""));
  EXPECT_FALSE(FindTracks("RIFF0000WAVE"));
  EXPECT_FALSE(FindTracks("OggS"));
}

}  // namespace
}  // namespace softsplice
