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

absl::StatusOr<std::vector<std::vector<float>>> DownloadRuns(Backend& backend, Mat x,
                                                             absl::Span<const int> lengths) {
  std::vector<std::vector<float>> runs;
  int first = 0;
  for (const int length : lengths) {
    runs.emplace_back(static_cast<size_t>(length) * static_cast<size_t>(x.cols));
    backend.Download(runs.back().data(), x.Rows(first, length));
    first += length;
  }
  RETURN_IF_ERROR(backend.Wait());
  return runs;
}

}  // namespace softsplice
