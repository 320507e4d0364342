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

// All calls stream the same events.
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
template absl::Status Collector::AddEvent(const v1::EncodeVideoResponse& message);

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
  medium_.header = header;
  counted_ = RunsOf(header);
  has_header_ = true;
  row_bytes_ = static_cast<uint64_t>(header.dim()) * DataTypeBytes(header.data_type());
  return absl::OkStatus();
}

absl::Status Collector::AddRows(const v1::SoftTokenRows& rows) {
  if (wanted_.header_only) return BadAnswer("rows, though only the header was asked for");
  if (rows.first_row() != rows_) {
    return BadAnswer(absl::StrCat("row ", rows.first_row(), " where row ", rows_, " was due"));
  }
  if (rows.data().empty() || rows.data().size() % row_bytes_ != 0) {
    return BadAnswer(absl::StrCat("a chunk of ", rows.data().size(), " bytes for rows of ",
                                  row_bytes_, " bytes"));
  }
  rows_ += rows.data().size() / row_bytes_;
  if (rows_ > medium_.header.rows()) {
    return BadAnswer(absl::StrCat("more than the ", medium_.header.rows(), " rows of the header"));
  }
  crc_ = Crc32c(rows.data(), crc_);
  data_ += rows.data();
  return CompleteRuns();
}

absl::Status Collector::CompleteRuns() {
  while (complete() < counted_.size()) {
    RowRun run = counted_[complete()];
    const size_t bytes = static_cast<size_t>(run.rows) * row_bytes_;
    if (data_.size() < bytes) break;
    const absl::Status status =
        FillRun(medium_.header.data_type(), absl::string_view(data_).substr(0, bytes), &run);
    if (!status.ok()) return BadAnswer(status.message());
    data_.erase(0, bytes);
    medium_.runs.push_back(std::move(run));
  }
  return absl::OkStatus();
}

absl::Status Collector::AddSummary(const v1::EncodeSummary& summary) {
  has_summary_ = true;
  medium_.cache_hit = summary.cache_hit();
  if (wanted_.header_only) return absl::OkStatus();
  if (rows_ != medium_.header.rows()) {
    return BadAnswer(absl::StrCat(rows_, " rows; the header promised ", medium_.header.rows()));
  }
  if (crc_ != summary.crc32c()) {
    return BadAnswer(
        absl::StrCat("the checksum is ", summary.crc32c(), "; that of the rows is ", crc_));
  }
  return absl::OkStatus();
}

absl::StatusOr<EncodedMedium> Collector::Finish() {
  if (!has_summary_) return BadAnswer("it ended before the summary");
  if (wanted_.header_only) medium_.runs = std::move(counted_);
  return std::move(medium_);
}

}  // namespace softsplice
