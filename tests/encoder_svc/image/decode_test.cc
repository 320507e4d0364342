// Every format against Pillow's pixels, and every bad input with its own error.
#include "encoder_svc/image/decode.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "encoder_svc/guarded.h"
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

// The largest difference to the reference that is not ours: libheif rounds colours in another way
// since 1.16, those of more than 8 bits twice.
int Rounding(const std::string& name) {
  if (!absl::EndsWith(name, ".heic")) return 0;
  return name == "ten-bit.heic" ? 2 : 1;
}

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
  EXPECT_LE(worst, Rounding(GetParam().name));
}

TEST_P(EveryPicture, TellsItsSizeByItsHeader) {
  const auto header = ReadImageHeader(File(GetParam().name), "", {});
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->UprightWidth(), GetParam().width);
  EXPECT_EQ(header->UprightHeight(), GetParam().height);
  EXPECT_GE(header->decoding_bytes, File(GetParam().name + ".rgb").size());
}

// Cut anywhere, a picture is refused (never shown in part) with a message, not a crash. It is whole
// where nothing is missing but what comes behind the pixels.
TEST_P(EveryPicture, IsRefusedWhenCutOff) {
  const std::string whole = File(GetParam().name);
  const absl::StatusOr<Picture> picture = Decode(whole);
  ASSERT_TRUE(picture.ok()) << picture.status();
  for (size_t size = 0; size < whole.size(); size += 1 + size / 40) {
    const auto part = Decode(absl::string_view(whole).substr(0, size));
    if (part.ok()) {
      EXPECT_EQ(part->rgb, picture->rgb) << size << " of " << whole.size() << " bytes";
      EXPECT_GT(size, whole.size() / 8);
      continue;
    }
    EXPECT_EQ(part.status().code(), absl::StatusCode::kInvalidArgument) << part.status();
    EXPECT_FALSE(part.status().message().empty());
  }
  for (const char* ending : {".jpg", ".bmp", ".webp", ".heic"}) {
    if (!absl::EndsWith(GetParam().name, ending)) continue;
    ExpectInvalid(absl::string_view(whole).substr(0, whole.size() - 1), "truncated");
  }
}

std::string TestName(const ::testing::TestParamInfo<Case>& test) {
  std::string name = test.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Pictures, EveryPicture, ::testing::ValuesIn(Cases()), TestName);

TEST(DecodeImage, HasAllPictures) { EXPECT_EQ(Cases().size(), 74u); }

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

// The bytes decide where a type is unknown, says nothing, or has another name.
TEST(DecodeImage, TakesTypesThatContradictNothing) {
  for (const char* mime : {"application/octet-stream", "image/x-png", "image/apng", "png", "*/*"}) {
    EXPECT_TRUE(Decode(File("rgb.png"), mime).ok()) << mime;
  }
  for (const char* mime : {"image/pjpeg", "image/jfif", "binary/octet-stream"}) {
    EXPECT_TRUE(Decode(File("rgb.jpg"), mime).ok()) << mime;
  }
  EXPECT_TRUE(Decode(File("rgb.bmp"), "image/x-bmp").ok());
  EXPECT_TRUE(Decode(File("lossy.webp"), "image/webp").ok());
  EXPECT_TRUE(Decode(File("grid.heic"), "image/heif").ok());
  EXPECT_TRUE(Decode(File("grid.heic"), "image/heic-sequence").ok());
  EXPECT_TRUE(Decode(File("alpha.avif"), "image/avif").ok());
}

TEST(DecodeImage, RefusesTypesOfOtherFormats) {
  for (const char* mime : {"image/webp", "image/svg+xml", "audio/wav", "video/mp4", "image/tiff"}) {
    ExpectError(File("rgb.png"), mime, absl::StatusCode::kInvalidArgument,
                absl::StrCat("mime type ", mime, " contradicts the bytes, which are PNG"));
  }
}

TEST(DecodeImage, NamesWhatItCannotRead) {
  const auto boxes = [](absl::string_view brand) {
    return absl::StrCat(std::string("\0\0\0\x14", 4), "ftyp", brand, std::string(4, '\0'), brand);
  };
  ExpectInvalid("<svg xmlns='http://www.w3.org/2000/svg'/>", "look like SVG");
  ExpectInvalid("II*" + std::string(20, '\0'), "look like TIFF");
  ExpectInvalid(boxes("isom"), "look like MP4");
  ExpectInvalid(boxes("hevc"), "the HEIC can't be read: it holds no still picture");
  ExpectInvalid(boxes("avis"), "AVIF");
  ExpectInvalid(boxes("crx "), "look like Canon's raw format");
  ExpectInvalid("hello, this is no picture",
                "the bytes are in no format that we know (the first ones are 68656c6c6f2c2074); "
                "PNG, JPEG, GIF, BMP, WebP, HEIC and AVIF are supported");
  for (const auto& [file, name] : {std::pair("rgb.png", "PNG"), std::pair("lossy.webp", "WebP"),
                                   std::pair("grid.heic", "HEIC"), std::pair("rgb.jpg", "JPEG")}) {
    ExpectInvalid(absl::Base64Escape(File(file)), absl::StrCat("look like ", name, " in base64"));
  }
}

TEST(DecodeImage, RefusesEmptyBytesAndGarbage) {
  ExpectInvalid("", "empty");
  ExpectInvalid(std::string(1000, '\0'), "in no format that we know");
  ExpectInvalid("BM" + std::string(100, '\0'), "a header of 0 bytes is not supported");
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

// Decoders that are given less than a header says they need stop, and say so.
TEST(DecodeImage, TakesNoMoreThanTheHeaderSays) {
  for (const char* name : {"lossless-alpha.webp", "lossy.webp", "animated.gif"}) {
    const std::string bytes = File(name);
    auto header = ReadImageHeader(bytes, "", {});
    ASSERT_TRUE(header.ok()) << header.status();
    header->decoder_bytes = 2000;
    const absl::Status status = DecodeImage(bytes, *header).status();
    EXPECT_EQ(status.message(), "the picture's data are larger than its header says") << name;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(Decode(bytes).ok()) << name;
  }
}

uint64_t DecodingBytes(absl::string_view bytes) {
  const auto header = ReadImageHeader(bytes, "", {});
  EXPECT_TRUE(header.ok()) << header.status();
  return header.ok() ? header->decoding_bytes : 0;
}

// By channels that are really there, whatever their depth.
TEST(ImageHeader, TellsWhatDecodingWillTake) {
  constexpr uint64_t kPixels = 4000 * 5000;
  const auto bytes_a_pixel = [](int depth, int color) {
    return static_cast<double>(DecodingBytes(BlackPng(4000, 5000, depth, color))) / kPixels;
  };
  EXPECT_NEAR(bytes_a_pixel(1, 0), 3, 0.1);
  EXPECT_NEAR(bytes_a_pixel(8, 2), 3, 0.1);
  EXPECT_NEAR(bytes_a_pixel(16, 2), 3, 0.1);
  EXPECT_NEAR(bytes_a_pixel(8, 6), 7, 0.1);  // laid over white afterwards
  // All coefficients of a picture that comes in several scans.
  const auto enlarged = [](std::string jpeg, const char* start_of_frame) {
    return jpeg.replace(jpeg.find(start_of_frame) + 5, 4, "\x10\0\x10\0", 4);
  };
  const uint64_t pixels = 4096 * 4096;
  EXPECT_LT(DecodingBytes(enlarged(File("rgb.jpg"), "\xff\xc0")), 4 * pixels);
  EXPECT_GT(DecodingBytes(enlarged(File("progressive.jpg"), "\xff\xc2")), 9 * pixels);
}

// 20 megapixels of grey that inflate to 700 MB take no more than 20 megapixels do.
TEST(DecodeImage, StopsInflatingWhereThePixelsEnd) {
  if (!testing::CanLimitMemory()) GTEST_SKIP();
  EXPECT_TRUE(testing::TrueInChild([] {
    testing::LimitMemory(100 << 20);
    return Decode(BlackPng(4000, 5000, 8, 0, 35)).ok();
  }));
}

TEST(DecodeImage, SaysWhenMemoryIsShort) {
  if (!testing::CanLimitMemory()) GTEST_SKIP();
  const std::string png = BlackPng(6000, 6000, 8, 2);
  EXPECT_TRUE(testing::TrueInChild([&] {
    testing::LimitMemory(90 << 20);  // less than the pixels
    const absl::Status status = Guarded([&] { return Decode(png).status(); });
    return status.code() == absl::StatusCode::kResourceExhausted &&
           GetErrorDetail(status).reason == "OUT_OF_MEMORY" &&
           GetErrorDetail(status).retry_after > absl::ZeroDuration();
  }));
  EXPECT_TRUE(Decode(png).ok());
}

}  // namespace
}  // namespace softsplice
