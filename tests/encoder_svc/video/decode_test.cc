// Videos against what torchcodec finds in them, and videos that are cut, lie, or are none.
#include "encoder_svc/video/decode.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/read_file.h"

namespace softsplice {
namespace {

using ::softsplice::testing::ReadFile;
using ::testing::HasSubstr;

constexpr char kFolder[] = "tests/data/video/";

std::string File(const std::string& name) { return ReadFile(kFolder + name); }
std::string Sound(const std::string& name) { return ReadFile("tests/data/audio/" + name); }

VideoLimits Limits() { return {.max_pixels = 1 << 20, .ffmpeg = SOFTSPLICE_FFMPEG_PROGRAM}; }

struct Video {
  VideoHeader header;
  std::vector<Picture> frames;
};

absl::StatusOr<Video> Decode(absl::string_view bytes, int max_frames = 32,
                             const VideoLimits& limits = Limits()) {
  const auto format = FindVideoFormat(bytes, "", limits);
  if (!format.ok()) return format.status();
  Video video;
  const absl::Status status = DecodeVideo(bytes, *format, max_frames, limits,
                                          {.on_header =
                                               [&](const VideoHeader& header) {
                                                 video.header = header;
                                                 return absl::OkStatus();
                                               },
                                           .on_frame =
                                               [&](Picture frame) {
                                                 video.frames.push_back(std::move(frame));
                                                 return absl::OkStatus();
                                               }});
  if (!status.ok()) return status;
  return video;
}

void ExpectError(const absl::Status& status, const std::string& reason,
                 const std::string& message) {
  EXPECT_EQ(GetErrorDetail(status).reason, reason) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

class WithFfmpeg : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Limits().ffmpeg.empty()) GTEST_SKIP() << "this build has no softsplice-ffmpeg";
  }
};

// As make_videos.py picks them: the middles of 4 columns and 3 rows.
std::vector<int> SomeValues(const Picture& frame) {
  constexpr int kColumns = 4, kRows = 3;
  std::vector<int> values;
  for (int y = 0; y < kRows; ++y) {
    for (int x = 0; x < kColumns; ++x) {
      const uint8_t* pixel = frame.Row((2 * y + 1) * frame.height / (2 * kRows)) +
                             3 * ((2 * x + 1) * frame.width / (2 * kColumns));
      values.insert(values.end(), pixel, pixel + 3);
    }
  }
  return values;
}

std::vector<int> FromHex(const std::string& hex) {
  std::vector<int> values;
  for (size_t i = 0; i < hex.size(); i += 2)
    values.push_back(std::stoi(hex.substr(i, 2), nullptr, 16));
  return values;
}

void ExpectVideo(const Video& video, const nlohmann::json& expected) {
  EXPECT_EQ(video.header.width, expected["width"]);
  EXPECT_EQ(video.header.height, expected["height"]);
  EXPECT_EQ(video.header.has_sound, expected["has_sound"]);
  EXPECT_NEAR(absl::ToDoubleSeconds(video.header.duration), expected["duration"], 2e-9);
  ASSERT_EQ(video.header.times.size(), expected["times"].size());
  ASSERT_EQ(video.frames.size(), expected["times"].size());
  for (size_t i = 0; i < video.frames.size(); ++i) {
    const absl::Duration time = video.header.times[i];
    EXPECT_NEAR(absl::ToDoubleSeconds(time), expected["times"][i], 2e-9) << i;
    EXPECT_EQ(absl::ToInt64Seconds(time), static_cast<int64_t>(expected["times"][i])) << i;
    ASSERT_EQ(video.frames[i].width, video.header.width);
    ASSERT_EQ(video.frames[i].height, video.header.height);
    const std::vector<int> values = SomeValues(video.frames[i]);
    EXPECT_THAT(values,
                ::testing::Pointwise(::testing::Truly([](const auto& pair) {
                                       return std::abs(std::get<0>(pair) - std::get<1>(pair)) <= 1;
                                     }),
                                     FromHex(expected["pixels"][i])))
        << "frame " << i;
  }
}

TEST_F(WithFfmpeg, FindsWhatTorchcodecFinds) {
  const auto expected = nlohmann::json::parse(File("expected.json"));
  EXPECT_EQ(expected.size(), 12u);
  for (const auto& [name, clip] : expected.items()) {
    SCOPED_TRACE(name);
    const auto video = Decode(File(name));
    ASSERT_TRUE(video.ok()) << video.status();
    ExpectVideo(*video, clip);
  }
}

// One frame from each tenth of the video, or whatever there is.
TEST_F(WithFfmpeg, TakesFramesAtEvenDistances) {
  const auto all = Decode(File("short.mp4"), 50), ten = Decode(File("short.mp4"), 10);
  ASSERT_TRUE(all.ok() && ten.ok());
  ASSERT_EQ(all->frames.size(), 50u);
  ASSERT_EQ(ten->frames.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(ten->frames[i].rgb, all->frames[5 * i].rgb) << i;
    EXPECT_EQ(ten->header.times[i], all->header.times[5 * i]) << i;
  }
  EXPECT_EQ(Decode(File("few.webm"), 256)->frames.size(), 10u);
  EXPECT_EQ(Decode(File("short.mp4"), 1)->frames.size(), 1u);
}

TEST_F(WithFfmpeg, TellsThatTheyAreTruncated) {
  for (const char* name : {"short.mp4", "rotated.mov", "full.mp4", "cut.mp4", "deep.mp4"}) {
    const std::string whole = File(name);
    for (const size_t size : {whole.size() / 3, whole.size() / 2, whole.size() * 3 / 4}) {
      ExpectError(Decode(absl::string_view(whole).substr(0, size)).status(), "INVALID_MEDIA",
                  "the MP4 is truncated");
    }
  }
  // Between two frames, whose list has all of them: what ffprobe says of `pos`.
  for (const auto& [name, size] : {std::pair{"full.mp4", 2380u}, {"short.mp4", 22958u}}) {
    ExpectError(Decode(File(name).substr(0, size)).status(), "INVALID_MEDIA",
                "the MP4 is truncated: it has ");
  }
  for (const char* name : {"few.webm", "uneven.mkv"}) {
    const std::string whole = File(name);
    for (const size_t size : {whole.size() / 2, whole.size() - 1}) {
      ExpectError(Decode(absl::string_view(whole).substr(0, size)).status(), "INVALID_MEDIA",
                  "the WebM is truncated");
    }
  }
  // One whose segment does not say where it ends, as those of live recordings; its length does.
  std::string live = File("uneven.mkv");
  live.replace(live.find("\x18\x53\x80\x67") + 4, 8, "\x01\xff\xff\xff\xff\xff\xff\xff");
  EXPECT_TRUE(Decode(live).ok());
  ExpectError(Decode(absl::string_view(live).substr(0, live.size() / 2)).status(), "INVALID_MEDIA",
              "of 4.0 s");
}

TEST_F(WithFfmpeg, NamesWhatItDoesNotRead) {
  ExpectError(Decode(Sound("aac-44k-stereo.m4a")).status(), "INVALID_MEDIA",
              "the MP4 has no video in it");
  ExpectError(Decode(Sound("cover.m4a")).status(), "INVALID_MEDIA", "the MP4 has no video in it");
  ExpectError(Decode(Sound("opus-48k.webm")).status(), "INVALID_MEDIA",
              "the WebM has no video in it");
  std::string other = File("one.mp4");
  other.replace(other.rfind("avc1"), 4, "SVQ3");
  ExpectError(Decode(other).status(), "INVALID_MEDIA", "is coded as svq3, which can't be read");
}

TEST_F(WithFfmpeg, WantsFramesOfOneSize) {
  ExpectError(Decode(File("sizes.mp4")).status(), "INVALID_MEDIA",
              "the MP4 has pictures of more than one size, which can't be read");
  // No fragment follows.
  const std::string whole = File("full.mp4");
  ExpectError(Decode(absl::string_view(whole).substr(0, whole.find("moof") - 4)).status(),
              "INVALID_MEDIA", "the MP4 has a video of no frames");
}

// Puts a number of four bytes `offset` bytes behind the first `box`.
void Put(std::string& mp4, absl::string_view box, size_t offset, uint32_t value) {
  const size_t at = mp4.find(box.data(), 0, box.size()) + box.size() + offset;
  for (size_t i = 0; i < 4; ++i) mp4[at + i] = static_cast<char>(value >> (24 - 8 * i));
}

// More than a million frames of a byte each.
TEST_F(WithFfmpeg, RefusesWhatHasTooManyFrames) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer keeps what was freed, which is too much then";
#endif
  constexpr uint32_t kFrames = (1 << 20) + 1;
  std::string mp4 = File("one.mp4");
  mp4.replace(mp4.find("edts"), 4, "free");
  Put(mp4, "stts", 8, kFrames);
  Put(mp4, "stsc", 12, kFrames);
  Put(mp4, "stsz", 4, 1);
  Put(mp4, "stsz", 8, kFrames);
  ExpectError(Decode(mp4 + std::string(kFrames, '\0')).status(), "INVALID_MEDIA",
              "has more than 1048576 frames, which can't be read");
}

// A table of a thousand million offsets.
TEST_F(WithFfmpeg, RefusesWhatTakesTooMuchMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer ends a program that gets no memory";
#endif
  std::string mp4 = File("one.mp4");
  Put(mp4, "stco", 4, 0x0fffffff);
  ExpectError(Decode(mp4).status(), "OVER_LIMIT", "more memory to be decoded than the 384 MiB");
}

TEST_F(WithFfmpeg, RefusesWhatIsTooLongOrTooLarge) {
  const std::string mp4 = File("short.mp4");
  VideoLimits limits = Limits();
  limits.max_duration = absl::Milliseconds(1900);
  ExpectError(Decode(mp4, 32, limits).status(), "OVER_LIMIT",
              "longer than allowed: 2s; at most 1.9s is allowed");
  limits = Limits();
  limits.max_pixels = 160 * 120 - 1;
  ExpectError(Decode(mp4, 32, limits).status(), "OVER_LIMIT",
              "the video has 160x120 pixels; at most 19199 are allowed");
  limits.max_pixels = 160 * 120;
  EXPECT_TRUE(Decode(mp4, 32, limits).ok());
  limits.max_bytes = mp4.size() - 1;
  ExpectError(Decode(mp4, 32, limits).status(), "OVER_LIMIT",
              absl::StrCat("the video has ", mp4.size(), " bytes; at most ", mp4.size() - 1));
}

TEST_F(WithFfmpeg, EndsWithWhomItIsFor) {
  VideoLimits limits = Limits();
  int asked = 0;
  limits.go_on = [&] { return ++asked < 2 ? absl::OkStatus() : absl::CancelledError("gone"); };
  EXPECT_EQ(Decode(File("short.mp4"), 32, limits).status(), absl::CancelledError("gone"));
  int frames = 0;
  const absl::Status status =
      DecodeVideo(File("short.mp4"), VideoFormat::kMp4, 32, Limits(),
                  {.on_header = [](const VideoHeader&) { return absl::OkStatus(); },
                   .on_frame =
                       [&](const Picture&) {
                         return ++frames < 3 ? absl::OkStatus() : absl::DataLossError("no");
                       }});
  EXPECT_EQ(status, absl::DataLossError("no"));
  EXPECT_EQ(frames, 3);
}

TEST(FindVideoFormat, LooksAtTheBytes) {
  VideoLimits limits;
  limits.ffmpeg = "/bin/true";
  const auto find = [&](absl::string_view bytes, absl::string_view mime = "") {
    return FindVideoFormat(bytes, mime, limits);
  };
  for (const char* mime : {"", "video/mp4", "video/quicktime", "Video/MP4; codecs=avc1",
                           "application/octet-stream", "video/whatever"}) {
    EXPECT_EQ(*find(File("short.mp4"), mime), VideoFormat::kMp4) << mime;
  }
  EXPECT_EQ(*find(File("few.webm"), "video/x-matroska"), VideoFormat::kWebm);
  EXPECT_EQ(*find(absl::string_view("\0\0\0\x8wide....", 12)), VideoFormat::kMp4);
  for (const char* mime : {"video/webm", "image/gif", "audio/mp4"}) {
    ExpectError(find(File("short.mp4"), mime).status(), "INVALID_FIELD",
                "contradicts the bytes, which are a video in MP4");
  }
  ExpectError(find("").status(), "INVALID_MEDIA", "the video is empty (0 bytes)");
  ExpectError(find("GIF89a").status(), "INVALID_MEDIA",
              "the bytes look like GIF, which can't be read as a video; MP4, MOV, WebM");
  ExpectError(find("RIFF0000AVI LIST").status(), "INVALID_MEDIA", "the bytes look like AVI");
  ExpectError(find("0000ftypavif").status(), "INVALID_MEDIA", "the bytes look like AVIF");
  ExpectError(find("hello").status(), "INVALID_MEDIA", "the bytes are not a video");
}

TEST(FindVideoFormat, SaysThatThereIsNoFfmpeg) {
  ExpectError(FindVideoFormat(File("few.webm"), "", {}).status(), "INVALID_MEDIA",
              "the bytes are WebM, which this build");
}

}  // namespace
}  // namespace softsplice
