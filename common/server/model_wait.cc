#include "common/server/model_wait.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/gguf/file.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr absl::Duration kBetweenLooks = absl::Milliseconds(250);

// OK: all of it is there, whatever it is.
absl::Status Missing(const std::string& path) {
  absl::Status opened = gguf::File::Open(path).status();
  return absl::IsNotFound(opened) ? opened : absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> WaitForModel(const std::string& path, absl::Duration limit, StopSignal& stop,
                                  const Logger& logger) {
  if (limit <= absl::ZeroDuration()) return true;
  const absl::Duration end = SteadyNow() + limit;
  absl::Status missing = Missing(path);
  if (missing.ok()) return true;
  logger.Log(LogLevel::kInfo, "waiting for the model",
             {{"file", path}, DurationField("limit", limit)});
  stop.Arm();
  while (!stop.Wait(kBetweenLooks)) {
    missing = Missing(path);
    if (missing.ok()) return !stop.Disarm();
    if (SteadyNow() > end) {
      return absl::NotFoundError(absl::StrCat(missing.message(), ", and did not come within ",
                                              absl::FormatDuration(limit)));
    }
  }
  logger.Log(LogLevel::kInfo, "stopped");
  return false;
}

}  // namespace softsplice
