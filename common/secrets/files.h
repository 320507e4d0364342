// Small files that are read again while the process runs: certificates, keys, tokens.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace softsplice {

// What each of the files holds. INVALID_ARGUMENT: one can't be read, is no regular file, or has
// more than 1 MiB.
absl::StatusOr<std::vector<std::string>> ReadFiles(const std::vector<std::string>& paths);

// What some files say together. A change counts once they are well-formed again; until then the
// last value stays.
template <class Value>
class Reread {
 public:
  // Takes the files' texts, in order. Its errors name the file.
  using Parse = std::function<absl::StatusOr<Value>(const std::vector<std::string>& texts)>;

  // The error is ReadFiles' or `parse`'s.
  static absl::StatusOr<std::unique_ptr<Reread>> Open(std::vector<std::string> paths, Parse parse) {
    auto texts = ReadFiles(paths);
    if (!texts.ok()) return texts.status();
    auto value = parse(*texts);
    if (!value.ok()) return value.status();
    return std::unique_ptr<Reread>(
        new Reread(std::move(paths), std::move(parse), *std::move(texts), *std::move(value)));
  }

  // Thread-safe. Another pointer is another value.
  std::shared_ptr<const Value> value() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

  // Whether there is a new value; an error once for each change that can't be taken. To be called
  // about once a second, by one thread: what was written within that time may be half of it, so a
  // change is looked at the next time.
  absl::StatusOr<bool> Look() {
    auto texts = ReadFiles(paths_);
    if (texts != seen_) {
      seen_ = std::move(texts);
      judged_ = false;
      return false;
    }
    if (std::exchange(judged_, true)) return false;
    if (!seen_.ok()) return seen_.status();
    if (*seen_ == taken_) return false;
    auto value = parse_(*seen_);
    if (!value.ok()) return value.status();
    taken_ = *seen_;
    const std::lock_guard lock(mutex_);
    value_ = std::make_shared<const Value>(*std::move(value));
    return true;
  }

 private:
  Reread(std::vector<std::string> paths, Parse parse, std::vector<std::string> texts, Value value)
      : paths_(std::move(paths)),
        parse_(std::move(parse)),
        taken_(texts),
        seen_(std::move(texts)),
        value_(std::make_shared<const Value>(std::move(value))) {}

  const std::vector<std::string> paths_;
  const Parse parse_;
  std::vector<std::string> taken_;                 // what value_ was made of
  absl::StatusOr<std::vector<std::string>> seen_;  // the last time
  bool judged_ = true;                             // seen_ was taken, or an error told

  mutable std::mutex mutex_;
  std::shared_ptr<const Value> value_;
};

}  // namespace softsplice
