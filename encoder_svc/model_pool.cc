#include "encoder_svc/model_pool.h"

#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/status/macros.h"

namespace softsplice {

absl::StatusOr<std::unique_ptr<ModelPool>> ModelPool::Load(
    const gguf::File& file, Towers towers, std::vector<std::unique_ptr<Backend>> backends,
    const EncoderOptions& options) {
  std::vector<OnDevice> all;
  for (std::unique_ptr<Backend>& backend : backends) {
    ASSIGN_OR_RETURN(Models models, Models::Load(file, towers, *backend, options));
    all.push_back({std::move(backend), std::move(models)});
  }
  return std::unique_ptr<ModelPool>(new ModelPool(std::move(all)));
}

ModelPool::ModelPool(std::vector<OnDevice> all) : all_(std::move(all)), in_use_(all_.size()) {
  for (OnDevice& one : all_) free_.push_back(&one);
}

EncoderInfo ModelPool::Info(const Digest& fingerprint) const {
  EncoderInfo info = all_.front().models.Info(fingerprint);
  info.backend = absl::StrJoin(all_, " and ", [](std::string* out, const OnDevice& one) {
    out->append(one.backend->Name());
  });
  return info;
}

absl::Status ModelPool::Reserve() {
  for (OnDevice& one : all_) RETURN_IF_ERROR(one.models.Reserve());
  return absl::OkStatus();
}

absl::Status ModelPool::Try(Backlog& backlog) {
  for (OnDevice& one : all_) RETURN_IF_ERROR(one.models.Try(backlog));
  return absl::OkStatus();
}

ModelPool::OnDevice* ModelPool::Take() {
  std::unique_lock lock(mutex_);
  one_is_free_.wait(lock, [this] { return !free_.empty(); });
  OnDevice* one = free_.back();
  free_.pop_back();
  return one;
}

void ModelPool::GiveBack(OnDevice* one) {
  const bool lost = !one->backend->Wait().ok();  // the pass has waited: nothing but what lasts
  const std::lock_guard lock(mutex_);
  if (lost && in_use_ > 1) {
    --in_use_;
    return;
  }
  free_.push_back(one);
  one_is_free_.notify_one();
}

}  // namespace softsplice
