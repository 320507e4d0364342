// What kind of mmproj file it is: the questions that come before the towers' hyperparameters.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gguf/file.h"

namespace softsplice {

struct Towers {
  bool image = false;
  bool audio = false;
};

// The towers that the file has, one at least. FAILED_PRECONDITION (InvalidFile): another kind of
// file, or no tower.
absl::StatusOr<Towers> FindTowers(const gguf::File& file);

// Whether one tower is there and is of the kind we know. `medium`: "image" or "audio", for people.
// `prefix`: of its keys. FAILED_PRECONDITION (InvalidFile): it is not.
absl::Status CheckTower(const gguf::File& file, bool present, absl::string_view medium,
                        absl::string_view prefix, absl::string_view projector);

}  // namespace softsplice
