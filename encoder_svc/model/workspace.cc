#include "encoder_svc/model/workspace.h"

#include "common/status/macros.h"
#include "kernels/null_backend.h"

namespace softsplice {

absl::Status Workspace::Grow(size_t bytes, size_t staging_bytes) {
  if (bytes > bytes_) {
    memory_ = nullptr;  // first the old one goes
    bytes_ = 0;
    ASSIGN_OR_RETURN(memory_, backend_.Allocate(bytes));
    bytes_ = bytes;
  }
  if (staging_bytes > staging_bytes_) {
    staging_ = nullptr;
    staging_bytes_ = 0;
    ASSIGN_OR_RETURN(staging_, backend_.AllocateStaging(staging_bytes));
    staging_bytes_ = staging_bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<Arena> Workspace::Plan(const Pass& pass) {
  NullBackend null(backend_.Operands());
  Arena dry(nullptr);
  const Mat rows = pass(null, dry);
  RETURN_IF_ERROR(Grow(
      dry.Peak(), static_cast<size_t>(rows.rows) * static_cast<size_t>(rows.cols) * sizeof(float)));
  return Arena(memory_.get());
}

absl::Status Workspace::Reserve(const Pass& pass) {
  ASSIGN_OR_RETURN(Arena arena, Plan(pass));
  backend_.Reserve([&] { pass(backend_, arena); });
  return backend_.Wait();
}

absl::StatusOr<std::vector<std::vector<float>>> Workspace::Download(Mat rows,
                                                                    absl::Span<const int> lengths) {
  backend_.Download(staging_.get(), rows);
  RETURN_IF_ERROR(backend_.Wait());
  std::vector<std::vector<float>> runs;
  const float* from = static_cast<const float*>(staging_.get());
  for (const int length : lengths) {
    const float* end = from + static_cast<size_t>(length) * static_cast<size_t>(rows.cols);
    runs.emplace_back(from, end);
    from = end;
  }
  return runs;
}

}  // namespace softsplice
