#include "decoder_svc/encoder_pool/soft_tokens.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/hash/crc32c.h"
#include "common/hash/sha256.h"
#include "common/soft_tokens/values.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "google/protobuf/repeated_ptr_field.h"

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

// `run`, a segment or a frame, has rows that begin at row `next` and lie within the medium's. Gives
// where they end.
template <class Run>
absl::StatusOr<uint64_t> CheckRun(const Run& run, const std::string& field, uint64_t next,
                                  uint64_t rows) {
  if (run.rows() == 0) {
    return InvalidField(field + ".rows", field + ".rows is 0; there must be at least one");
  }
  if (run.first_row() != next) {
    return InvalidField(field + ".first_row", absl::StrCat(field, ".first_row is ", run.first_row(),
                                                           "; row ", next, " is the next"));
  }
  next += run.rows();
  if (next <= rows) return next;
  return InvalidField(field + ".rows",
                      absl::StrCat(field, " ends at row ", next, "; header.rows is ", rows));
}

absl::StatusOr<uint64_t> CheckSegments(
    const google::protobuf::RepeatedPtrField<v1::AudioSegment>& segments, absl::string_view name,
    uint64_t next, uint64_t rows) {
  for (int i = 0; i < segments.size(); ++i) {
    const std::string field = absl::StrCat(name, "[", i, "]");
    ASSIGN_OR_RETURN(next, CheckRun(segments[i], field, next, rows));
    if (!IsTimeSpan(segments[i].start())) {
      return InvalidField(field + ".start", field + ".start is no time span");
    }
    if (!IsTimeSpan(segments[i].duration())) {
      return InvalidField(field + ".duration", field + ".duration is no time span");
    }
  }
  return next;
}

absl::Status CheckAllRows(absl::string_view field, uint64_t next, uint64_t rows) {
  if (next == rows) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(field, " end at row ", next, "; header.rows is ", rows));
}

// What the modality is called, and the layout of it.
absl::Status CheckModality(bool has_layout, bool is_it, absl::string_view name) {
  if (!has_layout || is_it) return absl::OkStatus();
  const std::string field = absl::StrCat("header.", name);
  return InvalidField(field, absl::StrCat(field, " is set, but the modality is not ", name));
}

absl::Status CheckImage(const v1::SoftTokensHeader& header) {
  const v1::ImageLayout& image = header.image();
  const uint64_t cells =
      static_cast<uint64_t>(image.grid_rows()) * static_cast<uint64_t>(image.grid_columns());
  if (cells == header.rows()) return absl::OkStatus();
  return InvalidField("header.image",
                      absl::StrCat("header.image has a grid of ", image.grid_rows(), " by ",
                                   image.grid_columns(), " for ", header.rows(), " rows"));
}

// The segments follow each other and cover all rows, if there are any.
absl::Status CheckAudio(const v1::SoftTokensHeader& header) {
  constexpr absl::string_view kField = "header.audio.segments";
  if (header.audio().segments().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uint64_t next,
                   CheckSegments(header.audio().segments(), kField, 0, header.rows()));
  return CheckAllRows(kField, next, header.rows());
}

// So do the frames, of which there is one, and the segments behind them.
absl::Status CheckVideo(const v1::SoftTokensHeader& header) {
  const v1::VideoLayout& video = header.video();
  if (video.frames().empty()) {
    return InvalidField("header.video.frames",
                        "header.video.frames is empty; there must be at least one");
  }
  uint64_t next = 0;
  for (int i = 0; i < video.frames_size(); ++i) {
    const std::string field = absl::StrCat("header.video.frames[", i, "]");
    ASSIGN_OR_RETURN(next, CheckRun(video.frames(i), field, next, header.rows()));
    if (!IsTimeSpan(video.frames(i).time())) {
      return InvalidField(field + ".time", field + ".time is no time span");
    }
  }
  ASSIGN_OR_RETURN(next, CheckSegments(video.sound(), "header.video.sound", next, header.rows()));
  return CheckAllRows("header.video", next, header.rows());
}

absl::Status CheckLayout(const v1::SoftTokensHeader& header) {
  const v1::Modality modality = header.modality();
  RETURN_IF_ERROR(CheckModality(header.has_image(), modality == v1::MODALITY_IMAGE, "image"));
  RETURN_IF_ERROR(CheckModality(header.has_audio(), modality == v1::MODALITY_AUDIO, "audio"));
  RETURN_IF_ERROR(CheckModality(header.has_video(), modality == v1::MODALITY_VIDEO, "video"));
  if (header.has_image()) return CheckImage(header);
  return modality == v1::MODALITY_VIDEO ? CheckVideo(header) : CheckAudio(header);
}

}  // namespace

absl::Status CheckHeader(const v1::SoftTokensHeader& header, const SoftTokensRules& rules) {
  const v1::Modality modality = header.modality();
  if (modality != v1::MODALITY_IMAGE && modality != v1::MODALITY_AUDIO &&
      modality != v1::MODALITY_VIDEO) {
    return InvalidField("header.modality", absl::StrCat("header.modality is ", modality,
                                                        "; it must be image, audio or video"));
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
  const auto add = [&](const auto& parts) {
    for (const auto& part : parts) runs.push_back({.rows = static_cast<int>(part.rows())});
  };
  add(header.audio().segments());
  add(header.video().frames());
  add(header.video().sound());
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
