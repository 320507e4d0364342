#include "decoder_svc/encoder_pool/blame.h"

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

constexpr absl::Duration kRetryDelay = absl::Seconds(1);

}  // namespace

Blame BlameFor(const absl::Status& status) {
  const ErrorDetail detail = GetErrorDetail(status);
  const bool own = !detail.reason.empty();
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return own ? Blame::kMedium : Blame::kFailing;
    case absl::StatusCode::kFailedPrecondition:
      if (detail.reason == reason::kForeignEncoder) return Blame::kForeign;
      return own ? Blame::kMedium : Blame::kFailing;
    case absl::StatusCode::kResourceExhausted:
      if (own && detail.retry_after > absl::ZeroDuration()) return Blame::kFull;
      return own ? Blame::kMedium : Blame::kFailing;
    case absl::StatusCode::kUnavailable:
      // It says so itself: it is there, and about to stop.
      return own ? Blame::kFailing : Blame::kAway;
    case absl::StatusCode::kCancelled:
      return Blame::kAway;
    case absl::StatusCode::kDeadlineExceeded:
      return Blame::kTooSlow;
    default:
      return Blame::kFailing;
  }
}

absl::Status ForClient(const std::string& address, const absl::Status& status) {
  const auto error = [&](absl::StatusCode code, absl::string_view text, const ErrorDetail& detail) {
    return MakeError(code, absl::StrCat("the encoder at ", address, " ", text, status.message()),
                     detail);
  };
  const ErrorDetail unavailable = {.reason = reason::kEncoderUnavailable,
                                   .retry_after = kRetryDelay};
  switch (BlameFor(status)) {
    case Blame::kMedium:
    case Blame::kFull:
    case Blame::kForeign:
      return status;
    case Blame::kAway:
      return error(absl::StatusCode::kUnavailable, "is not available: ", unavailable);
    case Blame::kTooSlow:
      return error(absl::StatusCode::kUnavailable, "took too long: ",
                   {.reason = reason::kEncoderTooSlow, .retry_after = kRetryDelay});
    case Blame::kFailing:
      break;
  }
  if (absl::IsUnavailable(status)) {
    return error(absl::StatusCode::kUnavailable, "is not available: ", unavailable);
  }
  const std::string reason = GetErrorDetail(status).reason;
  return error(absl::StatusCode::kInternal, "failed: ",
               {.reason = absl::IsInternal(status) && !reason.empty()
                              ? reason
                              : std::string(reason::kEncoderFailed)});
}

}  // namespace softsplice
