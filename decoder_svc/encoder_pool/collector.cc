#include "decoder_svc/encoder_pool/collector.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/hash/crc32c.h"
#include "common/soft_tokens/values.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

// Far more than any context holds.
constexpr uint32_t kMaxRows = 1 << 20;

absl::Status BadAnswer(absl::string_view message) {
  return MakeError(absl::StatusCode::kInternal,
                   absl::StrCat("the encoder's answer is broken: ", message),
                   {.reason = reason::kBadEncoderAnswer});
}

absl::Status OfAnotherModel(absl::string_view message) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("the encoder is of another model: ", message),
                   {.reason = reason::kForeignEncoder});
}

}  // namespace

// Both calls stream the same events.
template <class Response>
absl::Status Collector::AddEvent(const Response& message) {
  if (has_summary_) return BadAnswer("a message after the summary");
  if (message.has_header()) return AddHeader(message.header());
  if (!has_header_) return BadAnswer("it does not begin with a header");
  if (message.has_rows()) return AddRows(message.rows());
  if (message.has_summary()) return AddSummary(message.summary());
  return BadAnswer("an empty message");
}

template absl::Status Collector::AddEvent(const v1::EncodeImageResponse& message);
template absl::Status Collector::AddEvent(const v1::EncodeAudioResponse& message);

absl::Status Collector::AddHeader(const v1::SoftTokensHeader& header) {
  if (has_header_) return BadAnswer("a second header");
  // What is wrong in a client's header means another model here.
  if (header.dim() != static_cast<uint32_t>(rules_.dim)) {
    return OfAnotherModel(absl::StrCat("its rows have ", header.dim(),
                                       " numbers, the decoder's width is ", rules_.dim));
  }
  const absl::Status status = CheckHeader(header, rules_);
  if (absl::IsFailedPrecondition(status)) return OfAnotherModel(status.message());
  if (!status.ok()) return BadAnswer(status.message());
  if (header.rows() > kMaxRows) {
    return BadAnswer(absl::StrCat(header.rows(), " rows; one medium has ", kMaxRows, " at most"));
  }
  if (header.modality() != wanted_.modality) {
    return BadAnswer(absl::StrCat("modality ", v1::Modality_Name(header.modality()), " where ",
                                  v1::Modality_Name(wanted_.modality), " was asked for"));
  }
  header_ = header;
  has_header_ = true;
  row_bytes_ = static_cast<uint64_t>(header.dim()) * DataTypeBytes(header.data_type());
  return absl::OkStatus();
}

absl::Status Collector::AddRows(const v1::SoftTokenRows& rows) {
  if (wanted_.header_only) return BadAnswer("rows, though only the header was asked for");
  const uint64_t next = data_.size() / row_bytes_;
  if (rows.first_row() != next) {
    return BadAnswer(absl::StrCat("row ", rows.first_row(), " where row ", next, " was due"));
  }
  if (rows.data().empty() || rows.data().size() % row_bytes_ != 0) {
    return BadAnswer(absl::StrCat("a chunk of ", rows.data().size(), " bytes for rows of ",
                                  row_bytes_, " bytes"));
  }
  if (next + rows.data().size() / row_bytes_ > header_.rows()) {
    return BadAnswer(absl::StrCat("more than the ", header_.rows(), " rows of the header"));
  }
  data_ += rows.data();
  return absl::OkStatus();
}

absl::Status Collector::AddSummary(const v1::EncodeSummary& summary) {
  has_summary_ = true;
  cache_hit_ = summary.cache_hit();
  if (wanted_.header_only) return absl::OkStatus();
  const uint64_t rows = data_.size() / row_bytes_;
  if (rows != header_.rows()) {
    return BadAnswer(absl::StrCat(rows, " rows; the header promised ", header_.rows()));
  }
  const uint32_t crc = Crc32c(data_);
  if (crc != summary.crc32c()) {
    return BadAnswer(
        absl::StrCat("the checksum is ", summary.crc32c(), "; that of the rows is ", crc));
  }
  return absl::OkStatus();
}

absl::StatusOr<EncodedMedium> Collector::Finish() {
  if (!has_summary_) return BadAnswer("it ended before the summary");
  EncodedMedium medium{.header = std::move(header_), .cache_hit = cache_hit_};
  if (wanted_.header_only) return medium;
  auto values = UnpackValues(data_, medium.header.data_type());
  if (!values.ok()) return BadAnswer(values.status().message());
  medium.values = std::make_shared<const std::vector<float>>(*std::move(values));
  medium.name = NameOfRows(medium.header.data_type(), data_);
  return medium;
}

}  // namespace softsplice
