// Hostile and damaged GGUF files: each one a clear error, none a crash or a large allocation.
#include "common/gguf/parse.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/gguf/gguf_writer.h"

namespace softsplice::gguf {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kU32 = 4;
constexpr uint32_t kArray = 9;

// Parses from an exact-size heap block, so that a sanitizer sees a read past the end.
absl::StatusOr<Contents> ParseBytes(const std::string& bytes) {
  const std::unique_ptr<uint8_t[]> heap(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), heap.get());
  return Parse("x.gguf", {heap.get(), bytes.size()});
}

void ExpectError(const std::string& bytes, const std::string& message) {
  const auto result = ParseBytes(bytes);
  ASSERT_FALSE(result.ok()) << "expected: " << message;
  EXPECT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(result.status()).reason, "INVALID_FILE");
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("x.gguf: "));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(message));
}

GgufWriter Small() {
  GgufWriter writer;
  writer.String("general.architecture", "gemma4").U32("n", 7).Zeros("w", Type::kF32, {4, 3});
  return writer;
}

// An array value: its type, its stated count, its bytes.
std::string Array(uint32_t type, uint64_t count, const std::string& items) {
  return Bytes().Put(type).Put(count).PutRaw(items).str();
}

TEST(ParseTest, ReadsEveryValueType) {
  GgufWriter writer;
  writer.Raw("u8", 0, Bytes().Put<uint8_t>(255).str());
  writer.Raw("i8", 1, Bytes().Put<int8_t>(-2).str());
  writer.U16("u16", 65535).Raw("i16", 3, Bytes().Put<int16_t>(-3).str());
  writer.U32("u32", 4000000000u).I32("i32", -4).F32("f32", 0.5f).Bool("bool", true);
  writer.String("string", "text").Raw("u64", 10, Bytes().Put<uint64_t>(~0ull).str());
  writer.Raw("i64", 11, Bytes().Put<int64_t>(-5).str());
  writer.Raw("f64", 12, Bytes().Put(0.25).str());
  writer.I32s("i32s", {1, -2}).Bools("bools", {true, false}).StringList("strings", {"a", ""});
  writer.Raw("f32s", kArray, Array(6, 1, Bytes().Put(1.5f).str()));
  const auto contents = ParseBytes(writer.Build());
  ASSERT_TRUE(contents.ok()) << contents.status();
  const Metadata want = {{"u8", uint64_t{255}},
                         {"i8", int64_t{-2}},
                         {"u16", uint64_t{65535}},
                         {"i16", int64_t{-3}},
                         {"u32", uint64_t{4000000000}},
                         {"i32", int64_t{-4}},
                         {"f32", 0.5},
                         {"bool", true},
                         {"string", std::string("text")},
                         {"u64", ~uint64_t{0}},
                         {"i64", int64_t{-5}},
                         {"f64", 0.25},
                         {"i32s", std::vector<int64_t>{1, -2}},
                         {"bools", std::vector<bool>{true, false}},
                         {"strings", Strings{"a", ""}},
                         {"f32s", std::vector<double>{1.5}}};
  EXPECT_EQ(contents->metadata, want);
}

TEST(ParseTest, ReadsTensorsAtTheirPlaces) {
  GgufWriter writer;
  writer.alignment = 64;
  writer.U32("general.alignment", 64);
  writer.Tensor("a", Type::kF32, {3}, std::string(12, 'a'));
  writer.Tensor("b", Type::kQ4_0, {64, 1, 2}, std::string(72, 'b'));
  const std::string bytes = writer.Build();
  const auto contents =
      Parse("x.gguf", {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  ASSERT_TRUE(contents.ok()) << contents.status();
  ASSERT_EQ(contents->tensors.size(), 2u);
  EXPECT_EQ(contents->alignment, 64);
  const Tensor& b = contents->tensors[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.Rows(), 2);
  EXPECT_EQ(b.Cols(), 64);
  EXPECT_EQ(b.RowBytes(), 36u);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(b.data), b.bytes), std::string(72, 'b'));
  EXPECT_EQ(contents->tensors[0].data[11], 'a');
}

TEST(ParseTest, EveryTruncationIsAnError) {
  const std::string bytes = Small().Build();
  ASSERT_TRUE(ParseBytes(bytes).ok());
  // The padding after the last tensor is not needed.
  const size_t needed = bytes.size() - 16;
  for (size_t size = 0; size < needed; ++size) {
    ASSERT_FALSE(ParseBytes(bytes.substr(0, size)).ok()) << size;
  }
  EXPECT_TRUE(ParseBytes(bytes.substr(0, needed)).ok());
  ExpectError(bytes.substr(0, needed - 1),
              "tensor \"w\" has 48 bytes at offset 0 of the data, but");
  ExpectError("", "the file ends in the magic number");
}

TEST(ParseTest, RefusesOtherFormats) {
  GgufWriter writer = Small();
  writer.magic = "PK\x03\x04";
  ExpectError(writer.Build(), "not a GGUF file: it starts with \"PK");
  for (const uint32_t version : {0u, 1u, 2u, 4u}) {
    writer = Small();
    writer.version = version;
    ExpectError(writer.Build(), absl::StrCat("GGUF version ", version, "; only 3"));
  }
  writer = Small();
  writer.version = 0x03000000;
  ExpectError(writer.Build(), "big-endian");
}

TEST(ParseTest, RefusesHugeCounts) {
  for (const int64_t count : {int64_t{1000}, int64_t{1} << 40, int64_t{-4}}) {
    GgufWriter writer = Small();
    writer.extra_pairs = count;
    EXPECT_FALSE(ParseBytes(writer.Build()).ok()) << count;
    writer = Small();
    writer.extra_tensors = count;
    EXPECT_FALSE(ParseBytes(writer.Build()).ok()) << count;
  }
  for (const uint32_t type : {0u, kU32, 7u, 8u, 12u}) {
    ExpectError(GgufWriter().Raw("k", kArray, Array(type, 1000000, "xx")).Build(),
                "metadata \"k\" has a count of 1000000, but only");
    ExpectError(GgufWriter().Raw("k", kArray, Array(type, ~0ull, "xx")).Build(),
                "the limit for arrays is 16777216");
  }
  ExpectError(GgufWriter().Raw("k", 8, Bytes().Put<uint64_t>(1000).str()).Build(),
              "the file ends in metadata \"k\"");
  ExpectError(GgufWriter().Raw("k", 8, Bytes().Put<uint64_t>(~0ull).str()).Build(),
              "has a length of 18446744073709551615 bytes");
  ExpectError(GgufWriter().U32(std::string(65536, 'k'), 1).Build(), "the limit is 65535");
  ExpectError(GgufWriter().Zeros(std::string(65, 'n'), Type::kF32, {1}).Build(), "the limit is 64");
}

TEST(ParseTest, RefusesBadValues) {
  ExpectError(GgufWriter().Raw("k", 13, "").U32("pad", 0).Build(), "value type 13");
  ExpectError(GgufWriter().Raw("k", kArray, Array(13, 1, "xxxxxxxx")).Build(), "value type 13");
  ExpectError(GgufWriter().Raw("k", kArray, Array(kArray, 1, Array(kU32, 0, ""))).Build(),
              "array of arrays");
  ExpectError(GgufWriter().Raw("k", 7, "\x02").Build(), "a bool with value 2");
  ExpectError(GgufWriter().Raw("k", kArray, Array(7, 2, "\x01\x02")).Build(),
              "a bool with value 2");
  ExpectError(GgufWriter().Raw("k", kArray, Array(10, 1, std::string(8, '\xff'))).Build(),
              "k\"[0] is 18446744073709551615");
  ExpectError(GgufWriter().U32("k", 1).U32("k", 2).Build(), "metadata \"k\" occurs twice");
}

TEST(ParseTest, RefusesBadAlignments) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 33u, 1u << 21, 1u << 31}) {
    GgufWriter writer = Small();
    writer.U32("general.alignment", alignment);
    ExpectError(writer.Build(), absl::StrCat("general.alignment is ", alignment, ", not a power"));
  }
  GgufWriter writer = Small();
  writer.String("general.alignment", "32");
  ExpectError(writer.Build(), "general.alignment is not unsigned");
}

TEST(ParseTest, RefusesBadShapes) {
  const auto f32 = static_cast<uint32_t>(Type::kF32);
  const auto shape = [&](const std::vector<uint64_t>& dims, uint32_t type) {
    return GgufWriter().RawTensor("w", type, dims, 0).Build() + std::string(64, '\0');
  };
  ExpectError(shape({}, f32) + std::string(64, '\0'), "has 0 dimensions");
  ExpectError(shape({1, 1, 1, 1, 1}, f32), "has 5 dimensions, not 1 to 4");
  ExpectError(shape({4, 0}, f32), "a dimension of 0");
  ExpectError(shape({1ull << 31}, f32), "a dimension of 2147483648");
  ExpectError(shape({~0ull}, f32), "a dimension of 18446744073709551615");
  const uint64_t large = (1ull << 31) - 1;
  ExpectError(shape({large, large, large, large}, f32), "more than 2^63 - 1 numbers");
  ExpectError(shape({large, large, 1}, f32), "more than 2^63 - 1 bytes");
  ExpectError(shape({48}, static_cast<uint32_t>(Type::kQ8_0)), "needs multiples of 32");
  ExpectError(shape({128}, static_cast<uint32_t>(Type::kQ6_K)), "needs multiples of 256");
  ExpectError(shape({256}, 4), "tensor \"w\" has ggml's type number 4, which is not known");
  ExpectError(shape({256}, 0xffffffff), "type number 4294967295");
}

TEST(ParseTest, RefusesBadPlaces) {
  const auto f32 = static_cast<uint32_t>(Type::kF32);
  const auto at = [&](uint64_t offset) {
    return GgufWriter().RawTensor("w", f32, {8}, offset).Build() + std::string(64, '\0');
  };
  ASSERT_TRUE(ParseBytes(at(32)).ok());
  ExpectError(at(16), "starts at offset 16, not a multiple of the alignment 32");
  ExpectError(at(64), "it is truncated");
  ExpectError(at(96), "it is truncated");
  ExpectError(at(~0ull - 31), "it is truncated");
  GgufWriter twice;
  twice.RawTensor("a", f32, {16}, 0).RawTensor("b", f32, {8}, 32);
  ExpectError(twice.Build() + std::string(64, '\0'), "tensors \"a\" and \"b\" overlap");
  GgufWriter same = Small();
  same.Zeros("w", Type::kF32, {4});
  ExpectError(same.Build(), "tensor \"w\" occurs twice");
}

TEST(ParseTest, NamesInErrorsArePrintable) {
  ExpectError(GgufWriter().Raw("\x1b[31m\n", 13, "").U32("pad", 0).Build(),
              "metadata \"\\033[31m\\n\"");
}

}  // namespace
}  // namespace softsplice::gguf
