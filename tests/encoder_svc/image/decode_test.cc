// Every format against Pillow's pixels, and every bad input with its own error.
#include "encoder_svc/image/decode.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/png_writer.h"
#include "tests/support/read_file.h"
#include "tests/support/short_memory.h"

namespace softsplice {
namespace {

using ::softsplice::testing::BlackPng;
using ::softsplice::testing::ReadFile;
using ::testing::HasSubstr;

constexpr char kFolder[] = "tests/data/image/";

struct Case {
  std::string name;
  int width = 0;
  int height = 0;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  std::istringstream list(ReadFile(std::string(kFolder) + "pictures.txt"));
  for (Case c; list >> c.name >> c.width >> c.height;) cases.push_back(c);
  return cases;
}

std::string File(const std::string& name) { return ReadFile(kFolder + name); }

absl::StatusOr<Picture> Decode(absl::string_view bytes, absl::string_view mime = "",
                               const ImageLimits& limits = {}) {
  const auto header = ReadImageHeader(bytes, mime, limits);
  if (!header.ok()) return header.status();
  return DecodeImage(bytes, *header);
}

// Checks code and message of what `bytes` give.
void ExpectError(absl::string_view bytes, absl::string_view mime, absl::StatusCode code,
                 const std::string& message) {
  const auto picture = Decode(bytes, mime);
  ASSERT_FALSE(picture.ok()) << message;
  EXPECT_EQ(picture.status().code(), code) << picture.status();
  EXPECT_THAT(std::string(picture.status().message()), HasSubstr(message));
}

void ExpectInvalid(absl::string_view bytes, const std::string& message) {
  ExpectError(bytes, "", absl::StatusCode::kInvalidArgument, message);
}

// A PNG's first bytes, up to the size.
std::string PngHeader(uint32_t width, uint32_t height) {
  return std::string("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 16) + testing::BigEndian32(width) +
         testing::BigEndian32(height);
}

class EveryPicture : public ::testing::TestWithParam<Case> {};

// Bit-equal, JPEG too: libjpeg-turbo's decoder is the reference's.
TEST_P(EveryPicture, HasPillowsPixels) {
  const std::string expected = File(GetParam().name + ".rgb");
  const auto picture = Decode(File(GetParam().name));
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_EQ(picture->width, GetParam().width);
  EXPECT_EQ(picture->height, GetParam().height);
  ASSERT_EQ(picture->rgb.size(), expected.size());
  int worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(picture->rgb[i] - static_cast<uint8_t>(expected[i])));
  }
  EXPECT_EQ(worst, 0);
}

TEST_P(EveryPicture, TellsItsSizeByItsHeader) {
  const auto header = ReadImageHeader(File(GetParam().name), "", {});
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->UprightWidth(), GetParam().width);
  EXPECT_EQ(header->UprightHeight(), GetParam().height);
  EXPECT_GE(header->decoding_bytes, File(GetParam().name + ".rgb").size());
}

// Cut anywhere, a picture is refused (never shown in part) with a message, not a crash.
TEST_P(EveryPicture, IsRefusedWhenCutOff) {
  const bool gif = absl::EndsWith(GetParam().name, ".gif");
  const std::string whole = File(GetParam().name);
  for (size_t size = 0; size < whole.size(); size += 1 + size / 40) {
    const auto picture = Decode(absl::string_view(whole).substr(0, size));
    if (picture.ok() && gif) break;  // past the first frame, the rest may be missing
    ASSERT_FALSE(picture.ok()) << size << " of " << whole.size() << " bytes";
    EXPECT_EQ(picture.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(picture.status().message().empty());
  }
  if (!gif) ExpectInvalid(absl::string_view(whole).substr(0, whole.size() - 1), "truncated");
}

std::string TestName(const ::testing::TestParamInfo<Case>& test) {
  std::string name = test.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Pictures, EveryPicture, ::testing::ValuesIn(Cases()), TestName);

TEST(DecodeImage, HasAllPictures) { EXPECT_EQ(Cases().size(), 38u); }

TEST(DecodeImage, TakesMimeTypesInAnyCaseAndWithParameters) {
  EXPECT_TRUE(Decode(File("rgb.png"), "image/png").ok());
  EXPECT_TRUE(Decode(File("rgb.jpg"), "image/jpeg").ok());
  EXPECT_TRUE(Decode(File("rgb.jpg"), "Image/JPG").ok());
  EXPECT_TRUE(Decode(File("rgb.bmp"), "image/bmp").ok());
  EXPECT_TRUE(Decode(File("rgb.bmp"), "image/x-ms-bmp").ok());
  EXPECT_TRUE(Decode(File("animated.gif"), " image/gif; q=1").ok());
}

TEST(DecodeImage, RefusesAMimeTypeThatContradictsTheBytes) {
  ExpectError(File("rgb.png"), "image/jpeg", absl::StatusCode::kInvalidArgument,
              "mime type image/jpeg contradicts the bytes, which are PNG");
  EXPECT_EQ(GetErrorDetail(Decode(File("rgb.png"), "image/jpeg").status()).field, "mime_type");
}

TEST(DecodeImage, NamesTheSupportedTypes) {
  for (const char* mime : {"image/webp", "image/svg+xml", "audio/wav", "png"}) {
    ExpectError(File("rgb.png"), mime, absl::StatusCode::kInvalidArgument,
                std::string(mime) +
                    " is not supported; image/png, image/jpeg, image/bmp and image/gif are");
  }
  ExpectInvalid(absl::string_view("RIFF\x10\0\0\0WEBPVP8 ", 16), "look like WebP");
  ExpectInvalid("<svg xmlns='http://www.w3.org/2000/svg'/>", "look like SVG");
  ExpectInvalid(absl::string_view("\0\0\0\x1c"
                                  "ftypheic",
                                  12),
                "PNG, JPEG, BMP and GIF are supported");
}

TEST(DecodeImage, RefusesEmptyBytesAndGarbage) {
  ExpectInvalid("", "empty");
  ExpectInvalid("hello, this is no picture", "not a picture");
  ExpectInvalid(std::string(1000, '\0'), "not a picture");
  ExpectInvalid("BM" + std::string(100, '\0'), "0 x 0 pixels");
  ExpectInvalid("GIF89a" + std::string(100, '\1'), "GIF");
  ExpectInvalid("\xff\xd8\xff" + std::string(100, '\x7f'), "JPEG");
  ExpectInvalid("\x89PNG\r\n\x1a\n" + std::string(100, '\x7f'), "PNG");
}

TEST(DecodeImage, RefusesTooManyPixelsFromTheHeaderAlone) {
  const std::string header = PngHeader(50000, 50000);
  ExpectError(header, "", absl::StatusCode::kResourceExhausted,
              "50000 x 50000 pixels (2500000000); at most 100000000");
  const ErrorDetail detail = GetErrorDetail(Decode(header).status());
  EXPECT_EQ(detail.field, "data");
  EXPECT_EQ(detail.retry_after, absl::ZeroDuration());
  ExpectError(PngHeader(70000, 1), "", absl::StatusCode::kResourceExhausted, "longest side");
  ExpectError(PngHeader(0xffffffff, 0xffffffff), "", absl::StatusCode::kResourceExhausted, "side");
  ExpectInvalid(PngHeader(0, 10), "0 x 10 pixels");
}

TEST(DecodeImage, HonoursItsLimits) {
  const std::string png = File("rgb.png");  // 37 x 23 is 851 pixels
  EXPECT_TRUE(Decode(png, "", {.max_bytes = png.size(), .max_pixels = 851}).ok());
  EXPECT_EQ(Decode(png, "", {.max_pixels = 850}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Decode(png, "", {.max_bytes = png.size() - 1}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(DecodeImage, RefusesDamagedPixelsOfAPng) {
  std::string png = File("rgb.png");
  png[png.size() / 2] = static_cast<char>(png[png.size() / 2] ^ 0x10);
  ExpectInvalid(png, "checksum of a chunk IDAT is wrong");
}

TEST(DecodeImage, RefusesVariantsItCannotReadByName) {
  std::string bmp = File("rgb.bmp");
  bmp[30] = 1;
  ExpectInvalid(bmp, "run-length compression is not supported");
  std::string jpeg = File("rgb.jpg");
  jpeg[jpeg.find("\xff\xc0") + 4] = 12;
  ExpectInvalid(jpeg, "12 bits a sample");
}

uint64_t DecodingBytes(absl::string_view bytes) {
  const auto header = ReadImageHeader(bytes, "", {});
  EXPECT_TRUE(header.ok()) << header.status();
  return header.ok() ? header->decoding_bytes : 0;
}

// By depth and channels that are really there.
TEST(ImageHeader, TellsWhatDecodingWillTake) {
  constexpr uint64_t kPixels = 4000 * 5000;
  const auto bytes_a_pixel = [](int depth, int color) {
    return static_cast<double>(DecodingBytes(BlackPng(4000, 5000, depth, color))) / kPixels;
  };
  EXPECT_LT(bytes_a_pixel(1, 0), 5);
  EXPECT_LT(bytes_a_pixel(8, 0), 7);
  EXPECT_NEAR(bytes_a_pixel(8, 2), 9, 0.1);  // inflated twice over, samples
  EXPECT_NEAR(bytes_a_pixel(8, 6), 12, 0.1);
  EXPECT_NEAR(bytes_a_pixel(16, 2), 18, 0.1);
  // All coefficients of a picture that comes in several scans.
  const auto enlarged = [](std::string jpeg, const char* start_of_frame) {
    return jpeg.replace(jpeg.find(start_of_frame) + 5, 4, "\x10\0\x10\0", 4);
  };
  const uint64_t pixels = 4096 * 4096;
  EXPECT_LT(DecodingBytes(enlarged(File("rgb.jpg"), "\xff\xc0")), 4 * pixels);
  EXPECT_GT(DecodingBytes(enlarged(File("progressive.jpg"), "\xff\xc2")), 9 * pixels);
}

// 20 megapixels of grey that inflate to 700 MB: refused before they take more than three times 20.
TEST(DecodeImage, RefusesDataThatInflateToMoreThanTheHeaderSays) {
  ExpectInvalid(BlackPng(4000, 5000, 8, 0, 35), "larger than its header says");
  EXPECT_TRUE(Decode(BlackPng(400, 500, 8, 0, 2)).ok());  // some writers add more
}

TEST(DecodeImage, SaysWhenMemoryIsShort) {
  if (!testing::CanLimitMemory()) GTEST_SKIP();
  const std::string png = BlackPng(6000, 6000, 8, 2);
  EXPECT_TRUE(testing::TrueInChild([&] {
    testing::LimitMemory(150 << 20);  // the inflated rows, but not the samples
    const absl::Status status = Decode(png).status();
    return status.code() == absl::StatusCode::kResourceExhausted &&
           GetErrorDetail(status).reason == "OUT_OF_MEMORY" &&
           GetErrorDetail(status).retry_after > absl::ZeroDuration();
  }));
  EXPECT_TRUE(Decode(png).ok());
}

}  // namespace
}  // namespace softsplice
