#include "decoder_svc/encoder_pool/soft_tokens.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/hash/crc32c.h"
#include "common/hash/sha256.h"
#include "common/soft_tokens/values.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

absl::Status CheckFingerprint(const std::string& fingerprint, const SoftTokensRules& rules) {
  if (rules.allow_foreign) return absl::OkStatus();
  const std::string what = fingerprint.empty()
                               ? "the soft tokens name no encoder (encoder_fingerprint is empty)"
                               : absl::StrCat("the soft tokens are of encoder ",
                                              absl::BytesToHexString(fingerprint.substr(0, 32)));
  const auto error = [&](absl::StatusCode code, absl::string_view why, absl::string_view reason,
                         absl::Duration retry_after = absl::ZeroDuration()) {
    return MakeError(code, absl::StrCat(what, "; ", why),
                     {.reason = std::string(reason),
                      .field = "header.encoder_fingerprint",
                      .retry_after = retry_after});
  };
  if (rules.fingerprint.empty()) {
    return rules.has_encoders
               ? error(absl::StatusCode::kUnavailable,
                       "no encoder has answered yet to compare with", reason::kNoEncoderKnown,
                       absl::Seconds(1))
               : error(absl::StatusCode::kFailedPrecondition,
                       "this decoder has no encoder to compare with", reason::kNoEncoder);
  }
  if (fingerprint == rules.fingerprint) return absl::OkStatus();
  return error(absl::StatusCode::kFailedPrecondition,
               absl::StrCat("this decoder takes those of ",
                            absl::BytesToHexString(rules.fingerprint), " only"),
               reason::kForeignSoftTokens);
}

// As protobuf says a duration must be, and not negative.
bool IsTimeSpan(const google::protobuf::Duration& duration) {
  constexpr int64_t kMaxSeconds = 315'576'000'000;
  return duration.seconds() >= 0 && duration.seconds() <= kMaxSeconds && duration.nanos() >= 0 &&
         duration.nanos() < 1'000'000'000;
}

// The segments follow each other and cover all rows.
absl::Status CheckSegments(const v1::SoftTokensHeader& header) {
  const auto& segments = header.audio().segments();
  const uint64_t rows = header.rows();
  uint64_t next = 0;
  for (int i = 0; i < segments.size(); ++i) {
    const v1::AudioSegment& segment = segments[i];
    const std::string field = absl::StrCat("header.audio.segments[", i, "]");
    if (segment.rows() == 0) {
      return InvalidField(field + ".rows", field + ".rows is 0; there must be at least one");
    }
    if (segment.first_row() != next) {
      return InvalidField(field + ".first_row",
                          absl::StrCat(field, ".first_row is ", segment.first_row(), "; row ", next,
                                       " is the next"));
    }
    next += segment.rows();
    if (next > rows) {
      return InvalidField(field + ".rows",
                          absl::StrCat(field, " ends at row ", next, "; header.rows is ", rows));
    }
    if (!IsTimeSpan(segment.start()))
      return InvalidField(field + ".start", field + ".start is no time span");
    if (!IsTimeSpan(segment.duration())) {
      return InvalidField(field + ".duration", field + ".duration is no time span");
    }
  }
  if (segments.empty() || next == rows) return absl::OkStatus();
  return InvalidField("header.audio.segments", absl::StrCat("header.audio.segments end at row ",
                                                            next, "; header.rows is ", rows));
}

absl::Status CheckLayout(const v1::SoftTokensHeader& header) {
  const uint64_t rows = header.rows();
  if (header.has_image()) {
    if (header.modality() != v1::MODALITY_IMAGE) {
      return InvalidField("header.image", "header.image is set, but the modality is not image");
    }
    const uint64_t cells = static_cast<uint64_t>(header.image().grid_rows()) *
                           static_cast<uint64_t>(header.image().grid_columns());
    if (cells != rows) {
      return InvalidField(
          "header.image",
          absl::StrCat("header.image has a grid of ", header.image().grid_rows(), " by ",
                       header.image().grid_columns(), " for ", rows, " rows"));
    }
  }
  if (header.has_audio() && header.modality() != v1::MODALITY_AUDIO) {
    return InvalidField("header.audio", "header.audio is set, but the modality is not audio");
  }
  return CheckSegments(header);
}

}  // namespace

absl::Status CheckHeader(const v1::SoftTokensHeader& header, const SoftTokensRules& rules) {
  if (header.modality() != v1::MODALITY_IMAGE && header.modality() != v1::MODALITY_AUDIO) {
    return InvalidField("header.modality", absl::StrCat("header.modality is ", header.modality(),
                                                        "; it must be image or audio"));
  }
  if (DataTypeBytes(header.data_type()) == 0) {
    return InvalidField("header.data_type", absl::StrCat("header.data_type is ", header.data_type(),
                                                         "; it must be F32, F16 or BF16"));
  }
  if (header.rows() == 0) {
    return InvalidField("header.rows", "header.rows is 0; there must be at least one");
  }
  RETURN_IF_ERROR(CheckFingerprint(header.encoder_fingerprint(), rules));
  if (header.dim() != static_cast<uint32_t>(rules.dim)) {
    return InvalidField("header.dim", absl::StrCat("header.dim is ", header.dim(),
                                                   "; this decoder's width is ", rules.dim));
  }
  return CheckLayout(header);
}

std::vector<RowRun> RunsOf(const v1::SoftTokensHeader& header) {
  std::vector<RowRun> runs;
  for (const v1::AudioSegment& segment : header.audio().segments()) {
    runs.push_back({.rows = static_cast<int>(segment.rows())});
  }
  if (runs.empty()) runs.push_back({.rows = static_cast<int>(header.rows())});
  return runs;
}

absl::Status FillRun(v1::DataType type, absl::string_view data, RowRun* run) {
  ASSIGN_OR_RETURN(std::vector<float> values, UnpackValues(data, type));
  run->values = std::make_shared<const std::vector<float>>(std::move(values));
  const Sha256Digest digest = Sha256Of(data);
  run->name = absl::StrCat(static_cast<int>(type), ":", std::string(digest.begin(), digest.end()));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RowRun>> ReadSoftTokens(const v1::SoftTokens& soft_tokens,
                                                   const SoftTokensRules& rules) {
  const v1::SoftTokensHeader& header = soft_tokens.header();
  RETURN_IF_ERROR(CheckHeader(header, rules));
  const uint64_t width = static_cast<uint64_t>(DataTypeBytes(header.data_type()));
  // No overflow: 32 bits, an int and 4.
  const uint64_t row_bytes = static_cast<uint64_t>(rules.dim) * width;
  const uint64_t size = soft_tokens.data().size();
  if (size / row_bytes != header.rows() || size % row_bytes != 0) {
    return InvalidField(
        "data", absl::StrCat("data has ", size, " bytes; ", header.rows(), " rows of ", rules.dim,
                             " numbers of ", width, " bytes need ", row_bytes * header.rows()));
  }
  const uint32_t crc = Crc32c(soft_tokens.data());
  if (crc != soft_tokens.crc32c()) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("crc32c is ", soft_tokens.crc32c(), "; that of data is ", crc),
                     {.reason = reason::kBadChecksum, .field = "crc32c"});
  }
  std::vector<RowRun> runs = RunsOf(header);
  absl::string_view left = soft_tokens.data();
  for (RowRun& run : runs) {
    const size_t bytes = static_cast<size_t>(run.rows) * row_bytes;
    RETURN_IF_ERROR(FillRun(header.data_type(), left.substr(0, bytes), &run));
    left.remove_prefix(bytes);
  }
  return runs;
}

}  // namespace softsplice
