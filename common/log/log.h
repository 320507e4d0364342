// Structured log lines on stderr: one line an event, as JSON or as text. Never any content of
// requests.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
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

// Thread-safe, and no caller ever waits for whoever reads the log: lines go into a bounded queue,
// and a thread of the logger's writes them, each with one write. What the queue can't hold or the
// file doesn't take is dropped, and told as soon as writing works again.
class Logger {
 public:
  static constexpr size_t kQueueBytes = 1 << 20;

  // `fd` stays the caller's and must stay open as long as the process.
  Logger(LogFormat format, LogLevel level, int fd = STDERR_FILENO);
  // Flushes; a writer that is stuck is left behind.
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  // Drops events below the level.
  void Log(LogLevel level, absl::string_view event, const std::vector<LogField>& fields = {}) const;

  // A line as it is, without its end, whatever the level: a program's last words.
  void Print(std::string line) const;

  // Whether all lines so far were written, or given up, within a second.
  bool Flush() const;

 private:
  class Queue;

  const LogFormat format_;
  const LogLevel level_;
  const std::shared_ptr<Queue> queue_;  // the writer's as well: it may outlive the logger
  std::thread writer_;
};

}  // namespace softsplice
