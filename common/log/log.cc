#include "common/log/log.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

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

// What the reader of the log gets when the process ends.
constexpr absl::Duration kLastWords = absl::Seconds(1);

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

class Logger::Queue {
 public:
  Queue(LogFormat format, int fd) : format_(format), fd_(fd) {}

  void Push(std::string line) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (bytes_ + line.size() > kQueueBytes || lines_.size() >= kMaxLines) {
      ++dropped_;
      return;
    }
    bytes_ += line.size();
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }

  bool WaitWritten(absl::Duration limit) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(limit),
                             [this] { return lines_.empty(); });
  }

  // Whether the writer ended within `limit`.
  bool Close(absl::Duration limit) {
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    changed_.notify_all();
    abandoned_ =
        !changed_.wait_for(lock, absl::ToChronoNanoseconds(limit), [this] { return ended_; });
    return ended_;
  }

  // The writer's thread: until all is written after Close, or as long as Close waits.
  void WriteLines() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return closed_ || !lines_.empty(); });
      if (lines_.empty() || abandoned_) break;
      // Stays at the front until it is written: WaitWritten waits for it too.
      const std::string line = lines_.front();
      const int64_t dropped = dropped_;
      lock.unlock();
      const bool written = Write(line);
      const bool told = written && dropped > 0 && Write(DroppedLine(dropped));
      lock.lock();
      if (!written) ++dropped_;
      if (told) dropped_ -= dropped;
      bytes_ -= line.size();
      lines_.pop_front();
      changed_.notify_all();
    }
    ended_ = true;
    changed_.notify_all();
  }

 private:
  // Bounds what short lines cost beside their bytes.
  static constexpr size_t kMaxLines = 1 << 14;

  std::string DroppedLine(int64_t count) const {
    return FormatLogLine(format_, absl::Now(), LogLevel::kWarning, "log lines dropped",
                         {{"count", count}}) +
           "\n";
  }

  bool Write(absl::string_view text) const {
    while (!text.empty()) {
      const ssize_t written = write(fd_, text.data(), text.size());
      if (written >= 0) {
        text.remove_prefix(static_cast<size_t>(written));
      } else if (errno == EAGAIN) {  // whoever shares the file made it non-blocking
        pollfd writable = {.fd = fd_, .events = POLLOUT};
        poll(&writable, 1, -1);
      } else if (errno != EINTR) {
        return false;
      }
    }
    return true;
  }

  const LogFormat format_;
  const int fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> lines_;
  size_t bytes_ = 0;  // of lines_
  int64_t dropped_ = 0;
  bool closed_ = false;
  bool abandoned_ = false;
  bool ended_ = false;
};

Logger::Logger(LogFormat format, LogLevel level, int fd)
    : format_(format), level_(level), queue_(std::make_shared<Queue>(format, fd)) {
  writer_ = std::thread([queue = queue_] {
    // Signals are other threads' matter; SIGPIPE, which a lost reader causes here, becomes EPIPE.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    queue->WriteLines();
  });
}

Logger::~Logger() {
  if (queue_->Close(kLastWords)) {
    writer_.join();
  } else {
    writer_.detach();
  }
}

void Logger::Log(LogLevel level, absl::string_view event,
                 const std::vector<LogField>& fields) const {
  if (level >= level_) Print(FormatLogLine(format_, absl::Now(), level, event, fields));
}

void Logger::Print(std::string line) const { queue_->Push(std::move(line) + "\n"); }

bool Logger::Flush() const { return queue_->WaitWritten(kLastWords); }

}  // namespace softsplice
