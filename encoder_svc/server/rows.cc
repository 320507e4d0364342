#include "encoder_svc/server/rows.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/hash/crc32c.h"
#include "common/server/duration.h"
#include "common/soft_tokens/values.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

constexpr int kChunkBytes = 1 << 20;

}  // namespace

absl::Status CheckDataType(v1::DataType type) {
  if (DataTypeBytes(type) != 0) return absl::OkStatus();
  return InvalidField("data_type",
                      absl::StrCat("data_type is ", type, "; it must be F32, F16 or BF16"));
}

void FillHeader(int rows, int dim, v1::DataType type, const Digest& fingerprint,
                const Digest& content_digest, v1::SoftTokensHeader* header) {
  header->set_rows(rows);
  header->set_dim(dim);
  header->set_data_type(type);
  header->set_encoder_fingerprint(std::string(fingerprint.begin(), fingerprint.end()));
  header->set_content_digest(std::string(content_digest.begin(), content_digest.end()));
}

void FillSummary(const EncodeTimings& timings, uint32_t crc32c, v1::EncodeSummary* summary) {
  summary->set_crc32c(crc32c);
  summary->set_cache_hit(timings.cache_hit);
  v1::EncodeTimings* out = summary->mutable_timings();
  SetDuration(timings.queued, out->mutable_queued());
  SetDuration(timings.preprocess, out->mutable_preprocess());
  SetDuration(timings.forward, out->mutable_forward());
}

RowChunks::RowChunks(int dim, v1::DataType type)
    : dim_(static_cast<size_t>(dim)),
      type_(type),
      chunk_rows_(static_cast<size_t>(std::max(1, kChunkBytes / (dim * DataTypeBytes(type))))) {}

void RowChunks::Add(Values values) {
  if (!values->empty()) runs_.push_back(std::move(values));
}

size_t RowChunks::Next(v1::SoftTokenRows* rows) {
  const absl::Span<const float> run = *runs_.front();
  const size_t count = std::min(chunk_rows_, run.size() / dim_ - sent_);
  std::string data = PackValues(run.subspan(sent_ * dim_, count * dim_), type_);
  crc32c_ = Crc32c(data, crc32c_);
  rows->set_first_row(static_cast<uint32_t>(next_row_));
  rows->set_data(std::move(data));
  next_row_ += count;
  sent_ += count;
  if (sent_ * dim_ < run.size()) return 0;
  runs_.pop_front();
  return std::exchange(sent_, 0) * dim_;
}

}  // namespace softsplice
