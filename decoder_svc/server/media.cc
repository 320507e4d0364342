#include "decoder_svc/server/media.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/soft_tokens/values.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "decoder_svc/encoder_pool/soft_tokens.h"

namespace softsplice {
namespace {

// Enough for several encoders; a request of many media does not fill their queues.
constexpr int kAtOnce = 8;

v1::Modality ModalityOf(MediaKind kind) {
  switch (kind) {
    case MediaKind::kAudio:
      return v1::MODALITY_AUDIO;
    case MediaKind::kVideo:
      return v1::MODALITY_VIDEO;
    default:
      return v1::MODALITY_IMAGE;
  }
}

}  // namespace

void MediaBatch::Start(Done done) {
  done_ = std::move(done);
  media_.resize(sources_.size());
  calls_.resize(sources_.size());
  copies_.resize(sources_.size());
  keys_.resize(sources_.size());
  there_.resize(sources_.size());
  // What is here first: a broken one costs no encoding.
  for (size_t i = 0; i < sources_.size(); ++i) {
    absl::StatusOr<std::optional<EncodedMedium>> medium = WithoutEncoder(i);
    absl::Status status = medium.status();
    if (status.ok() && medium->has_value()) status = AddRows((*medium)->header);
    if (!status.ok()) return Tell(Annotate(status, sources_[i].field, sources_[i].field));
    there_[i] = medium->has_value();
    if (there_[i]) media_[i] = **std::move(medium);
    pending_ += there_[i] ? 0 : 1;
  }
  if (pending_ == 0) return Tell(std::move(media_));
  TellBeginning();
  // Encode() may end the batch.
  const std::shared_ptr<MediaBatch> self = shared_from_this();
  for (int i = 0; i < kAtOnce; ++i) {
    std::optional<size_t> next;
    {
      const std::lock_guard lock(mutex_);
      // One is always begun: its end is the end of a batch that is cancelled by now.
      if (i == 0 || !cancelled_) next = TakeNext();
    }
    if (!next.has_value()) return;
    Encode(*next);
  }
}

std::optional<size_t> MediaBatch::TakeNext() {
  while (next_ < sources_.size() && there_[next_]) ++next_;
  if (next_ == sources_.size()) return std::nullopt;
  ++in_work_;
  return next_++;
}

absl::StatusOr<std::optional<EncodedMedium>> MediaBatch::WithoutEncoder(size_t index) {
  const MediumSource& source = sources_[index];
  if (source.soft_tokens != nullptr) {
    // Of a type that is unknown they are refused.
    const uint64_t each = std::max(1, DataTypeBytes(source.soft_tokens->header().data_type()));
    RETURN_IF_ERROR(HoldValues(source.soft_tokens->data().size() / each));
    return ReadSoft(*source.soft_tokens);
  }
  if (!options_.take_known && !options_.remember) return std::nullopt;
  const std::string fingerprint = context_.encoders->fingerprint();
  if (fingerprint.empty()) return std::nullopt;  // none has answered yet
  keys_[index] =
      KnownMedia::KeyOf(options_.scope, fingerprint, ModalityOf(source.kind), *source.media);
  if (!options_.take_known) return std::nullopt;
  return context_.known_media.Find(keys_[index]);
}

absl::StatusOr<EncodedMedium> MediaBatch::ReadSoft(const v1::SoftTokens& soft_tokens) const {
  const SoftTokensRules rules = {
      .dim = context_.engine.info().dim,
      .fingerprint = context_.encoders == nullptr ? "" : context_.encoders->fingerprint(),
      .has_encoders = context_.encoders != nullptr,
      .allow_foreign = context_.allow_foreign_soft_tokens};
  ASSIGN_OR_RETURN(std::vector<RowRun> runs, ReadSoftTokens(soft_tokens, rules));
  return EncodedMedium{.header = soft_tokens.header(), .runs = std::move(runs)};
}

void MediaBatch::Encode(size_t index) {
  const v1::Media& media = *sources_[index].media;
  Border::Lease copy = context_.calls.border.NewLease();
  if (const absl::Status status = copy.Grow(media.data().size()); !status.ok()) {
    return OnMedium(index, status);
  }
  {
    const std::lock_guard lock(mutex_);
    copies_[index] = std::move(copy);
  }
  EncodeJob job{
      .wanted = {.modality = ModalityOf(sources_[index].kind), .header_only = options_.header_only},
      .data = media.data(),
      .mime_type = media.mime_type(),
      .max_soft_tokens = media.max_soft_tokens(),
      .max_frames = media.max_frames(),
      .without_sound = media.without_sound(),
      .request = this,
      .deadline = options_.deadline,
      .request_id = options_.request_id,
      .traceparent = options_.traceparent,
      .on_header = [self = shared_from_this(), index](const v1::SoftTokensHeader& header) {
        return self->OnHeader(index, header);
      }};
  if (options_.on_beginning != nullptr) {
    job.on_runs = [self = shared_from_this(), index](const EncodedMedium& so_far) {
      self->OnRuns(index, so_far);
    };
  }
  auto call = context_.encoders->Encode(
      std::move(job), [self = shared_from_this(), index](absl::StatusOr<EncodedMedium> medium) {
        self->OnMedium(index, std::move(medium));
      });
  const std::lock_guard lock(mutex_);
  if (cancelled_) call->Cancel();
  calls_[index] = std::move(call);
}

absl::Status MediaBatch::AddRows(const v1::SoftTokensHeader& header) {
  const std::lock_guard lock(mutex_);
  rows_ += header.rows();
  if (options_.max_rows == 0 || rows_ <= static_cast<uint64_t>(options_.max_rows)) {
    return absl::OkStatus();
  }
  return MakeError(
      absl::StatusCode::kOutOfRange,
      absl::StrCat("it takes ", header.rows(), " tokens; the context holds ", options_.max_rows,
                   ", and others of this request take ", rows_ - header.rows()),
      {.reason = reason::kPromptTooLong});
}

absl::Status MediaBatch::OnHeader(size_t index, const v1::SoftTokensHeader& header) {
  RETURN_IF_ERROR(AddRows(header));
  if (options_.header_only) return absl::OkStatus();
  const uint64_t values = uint64_t{header.rows()} * header.dim();
  RETURN_IF_ERROR(HoldValues(values));
  const std::lock_guard lock(mutex_);
  return copies_[index].Grow(values * static_cast<uint64_t>(DataTypeBytes(header.data_type())));
}

void MediaBatch::OnRuns(size_t index, const EncodedMedium& so_far) {
  {
    const std::lock_guard lock(mutex_);
    media_[index] = so_far;
  }
  TellBeginning();
}

absl::Status MediaBatch::HoldValues(uint64_t values) {
  const std::lock_guard lock(mutex_);
  return lease_.Grow(values * sizeof(float));
}

void MediaBatch::OnMedium(size_t index, absl::StatusOr<EncodedMedium> medium) {
  std::shared_ptr<EncoderPool::Call> ended;  // outlives the lock
  std::unique_lock lock(mutex_);
  ended = std::move(calls_[index]);
  copies_[index] = {};
  --in_work_;
  --pending_;
  if (medium.ok()) {
    if (!options_.header_only) {
      Observe(context_.metrics.encode_wait[sources_[index].kind], medium->encode);
    }
    if (options_.remember && !keys_[index].empty()) {
      context_.known_media.Put(keys_[index], *medium);
    }
    media_[index] = *std::move(medium);
    there_[index] = true;
  } else if (status_.ok()) {
    status_ = Annotate(medium.status(), sources_[index].field, sources_[index].field);
    CancelLocked();  // the answer is clear: the others need not be encoded
  }
  if (!cancelled_) {
    const std::optional<size_t> next = TakeNext();
    const bool complete = pending_ == 0;
    lock.unlock();
    if (next.has_value()) Encode(*next);
    if (complete) return Tell(std::move(media_));
    return TellBeginning();
  }
  if (in_work_ > 0) return;
  // Cancelled between two media, it is no answer without the rest.
  if (status_.ok() && pending_ > 0) status_ = absl::CancelledError("the request was cancelled");
  lock.unlock();
  if (!status_.ok()) return Tell(status_);
  Tell(std::move(media_));
}

void MediaBatch::TellBeginning() {
  if (options_.on_beginning == nullptr) return;
  std::vector<EncodedMedium> beginning;
  {
    const std::lock_guard lock(mutex_);
    while (first_missing_ < there_.size() && there_[first_missing_]) ++first_missing_;
    if (pending_ == 0) return;
    const size_t begun = first_missing_ + (media_[first_missing_].runs.empty() ? 0 : 1);
    beginning.assign(media_.begin(), media_.begin() + static_cast<std::ptrdiff_t>(begun));
  }
  options_.on_beginning(std::move(beginning));
}

size_t MediaBatch::encoded() const {
  const std::lock_guard lock(mutex_);
  return sources_.size() - pending_;
}

void MediaBatch::Cancel() {
  const std::lock_guard lock(mutex_);
  CancelLocked();
}

void MediaBatch::CancelLocked() {
  cancelled_ = true;
  for (const auto& call : calls_) {
    if (call != nullptr) call->Cancel();
  }
}

}  // namespace softsplice
