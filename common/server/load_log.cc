#include "common/server/load_log.h"

#include "common/time/steady.h"

namespace softsplice {

void LoadLog::operator()(absl::string_view stage, int percent) {
  const absl::Duration now = SteadyNow();
  if (stage == stage_ && now - told_ < absl::Seconds(2)) return;
  stage_ = std::string(stage);
  told_ = now;
  logger_.Log(LogLevel::kInfo, "loading", {{"stage", stage_}, {"percent", percent}});
}

}  // namespace softsplice
