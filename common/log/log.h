// Structured log lines on stderr: one line an event, as JSON or as text. Never any content of
// requests.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace softsplice {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };
enum class LogFormat : uint8_t { kText, kJson };

struct LogField {
  std::string key;
  std::variant<std::string, int64_t, double> value;
};

// In seconds with microseconds, under a key that says so ("total" becomes "total_seconds").
LogField DurationField(absl::string_view key, absl::Duration duration);

// The line without its end: {"time": …, "level": …, "event": …, fields…}.
std::string FormatLogLine(LogFormat format, absl::Time time, LogLevel level,
                          absl::string_view event, const std::vector<LogField>& fields);

// Thread-safe: every line is one write.
class Logger {
 public:
  Logger(LogFormat format, LogLevel level) : format_(format), level_(level) {}

  // Drops events below the level.
  void Log(LogLevel level, absl::string_view event, const std::vector<LogField>& fields = {}) const;

 private:
  const LogFormat format_;
  const LogLevel level_;
};

}  // namespace softsplice
