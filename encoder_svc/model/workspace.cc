#include "encoder_svc/model/workspace.h"

#include "common/status/macros.h"
#include "kernels/null_backend.h"

namespace softsplice {

absl::StatusOr<Arena> Workspace::Plan(const std::function<void(Backend&, Arena&)>& pass) {
  NullBackend null(backend_.Operands());
  Arena dry(nullptr);
  pass(null, dry);
  if (dry.Peak() > bytes_) {
    memory_ = nullptr;  // first the old one goes
    bytes_ = 0;
    ASSIGN_OR_RETURN(memory_, backend_.Allocate(dry.Peak()));
    bytes_ = dry.Peak();
  }
  return Arena(memory_.get());
}

absl::StatusOr<std::vector<std::vector<float>>> Workspace::Download(Mat x,
                                                                    absl::Span<const int> lengths) {
  const size_t bytes = static_cast<size_t>(x.rows) * static_cast<size_t>(x.cols) * sizeof(float);
  if (bytes > staging_bytes_) {
    staging_ = nullptr;
    staging_bytes_ = 0;
    ASSIGN_OR_RETURN(staging_, backend_.AllocateStaging(bytes));
    staging_bytes_ = bytes;
  }
  backend_.Download(staging_.get(), x);
  RETURN_IF_ERROR(backend_.Wait());
  std::vector<std::vector<float>> runs;
  const float* from = static_cast<const float*>(staging_.get());
  for (const int length : lengths) {
    const float* end = from + static_cast<size_t>(length) * static_cast<size_t>(x.cols);
    runs.emplace_back(from, end);
    from = end;
  }
  return runs;
}

}  // namespace softsplice
