#include "decoder_svc/encoder_pool/soft_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "common/gguf/half.h"
#include "common/hash/crc32c.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const SoftTokensRules kRules = {.dim = 3, .fingerprint = std::string(32, 'f')};

template <class T>
std::string Bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

v1::SoftTokens Make(uint32_t rows, v1::DataType type, std::string data) {
  v1::SoftTokens soft;
  soft.mutable_header()->set_modality(v1::MODALITY_IMAGE);
  soft.mutable_header()->set_rows(rows);
  soft.mutable_header()->set_dim(3);
  soft.mutable_header()->set_data_type(type);
  soft.mutable_header()->set_encoder_fingerprint(kRules.fingerprint);
  soft.set_crc32c(Crc32c(data));
  soft.set_data(std::move(data));
  return soft;
}

v1::SoftTokens Good() {
  return Make(2, v1::DATA_TYPE_F32, Bytes<float>({1, -2, 3.5, 0, 1e30f, -0.0f}));
}

// The code, and the field at fault.
void ExpectError(const v1::SoftTokens& soft, absl::StatusCode code, const std::string& field,
                 const SoftTokensRules& rules = kRules) {
  const auto values = ReadSoftTokens(soft, rules);
  EXPECT_EQ(values.status().code(), code) << values.status();
  EXPECT_EQ(GetErrorDetail(values.status()).field, field) << values.status();
}

TEST(SoftTokens, ReadsEveryType) {
  EXPECT_THAT(*ReadSoftTokens(Good(), kRules)->at(0).values,
              ElementsAre(1, -2, 3.5, 0, 1e30f, -0.0f));
  EXPECT_THAT(
      *ReadSoftTokens(Make(1, v1::DATA_TYPE_F16, Bytes<uint16_t>({0x3c00, 0xc000, 1})), kRules)
           ->at(0)
           .values,
      ElementsAre(1, -2, std::ldexp(1.f, -24)));
  EXPECT_THAT(*ReadSoftTokens(
                   Make(1, v1::DATA_TYPE_BF16, Bytes<uint16_t>({0x3f80, 0xc000, 0x7f7f})), kRules)
                   ->at(0)
                   .values,
              ElementsAre(1, -2, BF16ToFloat(0x7f7f)));
}

TEST(SoftTokens, RefusesBrokenHeaders) {
  v1::SoftTokens soft = Good();
  soft.clear_header();
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.modality");

  soft = Good();
  soft.mutable_header()->set_data_type(v1::DATA_TYPE_UNSPECIFIED);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.data_type");
  soft.mutable_header()->set_data_type(static_cast<v1::DataType>(77));
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.data_type");

  soft = Good();
  soft.mutable_header()->set_dim(4);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.dim");
  soft.mutable_header()->set_dim(std::numeric_limits<uint32_t>::max());
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.dim");

  soft = Make(0, v1::DATA_TYPE_F32, "");
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.rows");
}

TEST(SoftTokens, RefusesALayoutThatContradicts) {
  v1::SoftTokens soft = Good();
  soft.mutable_header()->mutable_image()->set_grid_rows(2);
  soft.mutable_header()->mutable_image()->set_grid_columns(1);
  EXPECT_TRUE(ReadSoftTokens(soft, kRules).ok());
  soft.mutable_header()->mutable_image()->set_grid_columns(2);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.image");
  // 2^16 * 2^16 + 2 grid cells would be 2 in 32 bits.
  soft.mutable_header()->mutable_image()->set_grid_rows(0x80000001u);
  soft.mutable_header()->mutable_image()->set_grid_columns(2);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.image");
  soft.mutable_header()->mutable_audio();
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.audio");
}

v1::SoftTokens Sound(const std::vector<std::pair<uint32_t, uint32_t>>& segments) {
  v1::SoftTokens soft = Make(5, v1::DATA_TYPE_F32, std::string(60, '\0'));
  soft.mutable_header()->set_modality(v1::MODALITY_AUDIO);
  soft.mutable_header()->mutable_audio();
  for (const auto& [first, rows] : segments) {
    v1::AudioSegment* segment = soft.mutable_header()->mutable_audio()->add_segments();
    segment->set_first_row(first);
    segment->set_rows(rows);
  }
  return soft;
}

TEST(SoftTokens, ReadsSoundsOfOneAndOfSeveralSegments) {
  EXPECT_TRUE(ReadSoftTokens(Sound({}), kRules).ok());
  EXPECT_TRUE(ReadSoftTokens(Sound({{0, 5}}), kRules).ok());
  EXPECT_TRUE(ReadSoftTokens(Sound({{0, 1}, {1, 3}, {4, 1}}), kRules).ok());
  v1::SoftTokens soft = Sound({});
  soft.mutable_header()->clear_audio();
  EXPECT_TRUE(ReadSoftTokens(soft, kRules).ok());
}

TEST(SoftTokens, RefusesSegmentsThatDoNotCoverTheRows) {
  const std::pair<std::vector<std::pair<uint32_t, uint32_t>>, const char*> cases[] = {
      {{{0, 4}}, ""},                            // too few
      {{{0, 2}, {2, 2}}, ""},                    //
      {{{0, 6}}, "[0].rows"},                    // too many
      {{{0, 2}, {2, 4}}, "[1].rows"},            //
      {{{0, 2}, {2, 0xffffffffu}}, "[1].rows"},  // 1 in 32 bits
      {{{0, 2}, {2, 0}, {2, 3}}, "[1].rows"},    // an empty one
      {{{0, 2}, {3, 2}}, "[1].first_row"},       // a gap
      {{{0, 3}, {2, 3}}, "[1].first_row"},       // an overlap
      {{{1, 4}}, "[0].first_row"},               //
      {{{2, 3}, {0, 2}}, "[0].first_row"},       // another order
  };
  for (const auto& [segments, field] : cases) {
    ExpectError(Sound(segments), absl::StatusCode::kInvalidArgument,
                std::string("header.audio.segments") + field);
  }
  v1::SoftTokens soft = Sound({{0, 5}});
  soft.mutable_header()->set_modality(v1::MODALITY_IMAGE);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.audio");
}

using Runs = std::vector<std::pair<uint32_t, uint32_t>>;

v1::SoftTokens Video(const Runs& frames, const Runs& segments) {
  v1::SoftTokens soft = Make(5, v1::DATA_TYPE_F32, std::string(60, '\0'));
  soft.mutable_header()->set_modality(v1::MODALITY_VIDEO);
  v1::VideoLayout* video = soft.mutable_header()->mutable_video();
  for (const auto& [first, rows] : frames) {
    v1::VideoFrame* frame = video->add_frames();
    frame->set_first_row(first);
    frame->set_rows(rows);
  }
  for (const auto& [first, rows] : segments) {
    v1::AudioSegment* segment = video->add_sound();
    segment->set_first_row(first);
    segment->set_rows(rows);
  }
  return soft;
}

TEST(SoftTokens, ReadsVideosWithAndWithoutSound) {
  EXPECT_THAT(*ReadSoftTokens(Video({{0, 2}, {2, 3}}, {}), kRules), testing::SizeIs(2));
  EXPECT_THAT(*ReadSoftTokens(Video({{0, 1}, {1, 1}}, {{2, 2}, {4, 1}}), kRules),
              testing::SizeIs(4));
}

TEST(SoftTokens, RefusesFramesAndSoundThatDoNotCoverTheRows) {
  const std::tuple<Runs, Runs, const char*> cases[] = {
      {{}, {}, ".frames"},
      {{}, {{0, 5}}, ".frames"},
      {{{0, 2}, {2, 2}}, {}, ""},
      {{{0, 2}, {2, 4}}, {}, ".frames[1].rows"},
      {{{0, 2}, {3, 2}}, {}, ".frames[1].first_row"},
      {{{0, 5}}, {{5, 1}}, ".sound[0].rows"},
      {{{0, 3}}, {{0, 2}}, ".sound[0].first_row"},
      {{{0, 3}}, {{3, 1}}, ""},
  };
  for (const auto& [frames, segments, field] : cases) {
    ExpectError(Video(frames, segments), absl::StatusCode::kInvalidArgument,
                absl::StrCat("header.video", field));
  }
  v1::SoftTokens soft = Video({{0, 5}}, {});
  soft.mutable_header()->mutable_video()->mutable_frames(0)->mutable_time()->set_seconds(-1);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.video.frames[0].time");
  soft = Video({{0, 5}}, {});
  soft.mutable_header()->set_modality(v1::MODALITY_IMAGE);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.video");
  soft.mutable_header()->set_modality(v1::MODALITY_VIDEO);
  soft.mutable_header()->clear_video();
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.video.frames");
}

TEST(SoftTokens, RefusesTimesThatAreNone) {
  using Change = void (*)(google::protobuf::Duration*);
  constexpr Change kBad[] = {
      [](auto* time) { time->set_seconds(-1); }, [](auto* time) { time->set_nanos(-1); },
      [](auto* time) { time->set_nanos(1'000'000'000); },
      [](auto* time) { time->set_seconds(std::numeric_limits<int64_t>::max()); }};
  for (const Change change : kBad) {
    v1::SoftTokens soft = Sound({{0, 2}, {2, 3}});
    v1::AudioSegment* segment = soft.mutable_header()->mutable_audio()->mutable_segments(1);
    change(segment->mutable_start());
    ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.audio.segments[1].start");
    segment->mutable_start()->Clear();
    change(segment->mutable_duration());
    ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.audio.segments[1].duration");
  }
  v1::SoftTokens soft = Sound({{0, 5}});
  soft.mutable_header()->mutable_audio()->mutable_segments(0)->mutable_duration()->set_seconds(30);
  EXPECT_TRUE(ReadSoftTokens(soft, kRules).ok());
}

TEST(SoftTokens, RefusesASizeThatIsNotRowsTimesDim) {
  for (const uint32_t rows : {1u, 3u, 0x55555556u, 0x80000002u, 0xffffffffu}) {
    v1::SoftTokens soft = Good();
    soft.mutable_header()->set_rows(rows);
    ExpectError(soft, absl::StatusCode::kInvalidArgument, "data");
  }
  for (const size_t size : {0, 1, 23, 25}) {
    v1::SoftTokens soft = Make(2, v1::DATA_TYPE_F32, std::string(size, '\0'));
    ExpectError(soft, absl::StatusCode::kInvalidArgument, "data");
  }
  // 12 bytes of data that declare 4 TiB: the answer names both.
  v1::SoftTokens soft = Make(0xffffffffu, v1::DATA_TYPE_F32, std::string(12, '\0'));
  EXPECT_THAT(std::string(ReadSoftTokens(soft, kRules).status().message()),
              HasSubstr("data has 12 bytes; 4294967295 rows of 3 numbers of 4 bytes need "
                        "51539607540"));
}

TEST(SoftTokens, RefusesABadChecksum) {
  v1::SoftTokens soft = Good();
  (*soft.mutable_data())[5] ^= 1;
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "crc32c");
}

TEST(SoftTokens, RefusesWhatIsNotFinite) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float bad : {kNan, kInf, -kInf}) {
    ExpectError(Make(1, v1::DATA_TYPE_F32, Bytes<float>({1, 2, bad})),
                absl::StatusCode::kInvalidArgument, "data");
    ExpectError(Make(1, v1::DATA_TYPE_F16, Bytes<uint16_t>({0, FloatToHalf(bad), 0})),
                absl::StatusCode::kInvalidArgument, "data");
    ExpectError(Make(1, v1::DATA_TYPE_BF16, Bytes<uint16_t>({FloatToBF16(bad), 0, 0})),
                absl::StatusCode::kInvalidArgument, "data");
  }
}

TEST(SoftTokens, RefusesThoseOfAnotherEncoder) {
  v1::SoftTokens soft = Good();
  soft.mutable_header()->set_encoder_fingerprint(std::string(32, 'g'));
  ExpectError(soft, absl::StatusCode::kFailedPrecondition, "header.encoder_fingerprint");
  // A short or a long one is not the same.
  for (const size_t size : {0, 31, 33, 100'000}) {
    soft.mutable_header()->set_encoder_fingerprint(std::string(size, 'f'));
    ExpectError(soft, absl::StatusCode::kFailedPrecondition, "header.encoder_fingerprint");
  }
  SoftTokensRules foreign = kRules;
  foreign.allow_foreign = true;
  EXPECT_TRUE(ReadSoftTokens(soft, foreign).ok());
  soft.mutable_header()->set_dim(5);
  ExpectError(soft, absl::StatusCode::kInvalidArgument, "header.dim", foreign);
}

TEST(SoftTokens, NeedAnEncoderToCompareWith) {
  const SoftTokensRules unknown = {.dim = 3};
  ExpectError(Good(), absl::StatusCode::kFailedPrecondition, "header.encoder_fingerprint", unknown);
  v1::SoftTokens soft = Good();
  soft.mutable_header()->clear_encoder_fingerprint();
  ExpectError(soft, absl::StatusCode::kFailedPrecondition, "header.encoder_fingerprint", unknown);
  EXPECT_EQ(GetErrorDetail(ReadSoftTokens(soft, unknown).status()).reason, "NO_ENCODER");
}

TEST(SoftTokens, MayComeBackWhenAnEncoderHasAnswered) {
  const SoftTokensRules early = {.dim = 3, .has_encoders = true};
  ExpectError(Good(), absl::StatusCode::kUnavailable, "header.encoder_fingerprint", early);
  const ErrorDetail detail = GetErrorDetail(ReadSoftTokens(Good(), early).status());
  EXPECT_EQ(detail.reason, "NO_ENCODER_KNOWN");
  EXPECT_GT(detail.retry_after, absl::ZeroDuration());
}

}  // namespace
}  // namespace softsplice
