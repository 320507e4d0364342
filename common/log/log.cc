#include "common/log/log.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace softsplice {
namespace {

using Json = nlohmann::ordered_json;

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "";
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json ToJson(const LogField& field) {
  return std::visit([](const auto& value) { return Json(value); }, field.value);
}

// A word as it stands, anything else quoted.
std::string TextValue(const LogField& field) {
  const auto* text = std::get_if<std::string>(&field.value);
  const bool plain =
      text == nullptr ||
      (!text->empty() && text->find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                 "0123456789_-./:,+%@") == std::string::npos);
  return text != nullptr && plain ? *text : Dump(ToJson(field));
}

}  // namespace

LogField DurationField(absl::string_view key, absl::Duration duration) {
  const double seconds =
      static_cast<double>(absl::ToInt64Microseconds(duration)) / 1e6;  // no digits of noise
  return {absl::StrCat(key, "_seconds"), seconds};
}

std::string FormatLogLine(LogFormat format, absl::Time time, LogLevel level,
                          absl::string_view event, const std::vector<LogField>& fields) {
  const std::string stamp = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
  if (format == LogFormat::kJson) {
    Json line = {{"time", stamp}, {"level", LevelName(level)}, {"event", std::string(event)}};
    for (const LogField& field : fields) line[field.key] = ToJson(field);
    return Dump(line);
  }
  std::string line = absl::StrFormat("%s %-7s %s", stamp, LevelName(level), event);
  for (const LogField& field : fields)
    absl::StrAppend(&line, " ", field.key, "=", TextValue(field));
  return line;
}

void Logger::Log(LogLevel level, absl::string_view event,
                 const std::vector<LogField>& fields) const {
  if (level < level_) return;
  const std::string line = FormatLogLine(format_, absl::Now(), level, event, fields) + "\n";
  // A log that can't be written must not stop the service.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace softsplice
