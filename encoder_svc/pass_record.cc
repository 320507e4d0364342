#include "encoder_svc/pass_record.h"

#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {

void PassRecord::Note(const absl::Status& pass) {
  const std::lock_guard lock(mutex_);
  if (pass.ok()) failures_ = 0;
  if (pass.code() != absl::StatusCode::kInternal) return;
  const bool lasting = GetErrorDetail(pass).reason == reason::kDeviceError;
  if (++failures_ >= kMaxFailures || lasting) verdict_.Update(pass);
}

absl::Status PassRecord::verdict() const {
  const std::lock_guard lock(mutex_);
  return verdict_;
}

}  // namespace softsplice
