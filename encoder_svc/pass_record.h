// How the towers' passes ended, and what that says of the encoder.
#pragma once

#include <mutex>

#include "absl/status/status.h"

namespace softsplice {

// Thread-safe.
class PassRecord {
 public:
  // One after another, of different media: it's not the media.
  static constexpr int kMaxFailures = 3;

  void Note(const absl::Status& pass);
  // OK, or for good the error that the device does not get over, or the last of so many failures
  // one after another. Passes without memory are none: that goes by.
  absl::Status verdict() const;

 private:
  mutable std::mutex mutex_;
  int failures_ = 0;
  absl::Status verdict_;
};

}  // namespace softsplice
