// Which backend a service runs on: "auto" is looked into, and memory before it is taken.
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/backend_options.h"
#include "kernels/footprint.h"

namespace softsplice {

// What somebody wants to run.
struct Wanted {
  BackendOptions backend;
  // Of "cuda" and "auto": each takes the whole model, or (shared) a part of it. At least one.
  absl::Span<const int> devices;
  bool shared = false;
  // Loads the model over `counter` and runs the largest passes that there will be.
  absl::FunctionRef<absl::StatusOr<Footprint>(CountingBackend& counter)> measure;
  // What helps where memory is short, for people: "lower --context (now 8192)".
  absl::string_view advice;
};

struct Choice {
  std::string name;     // a BackendOptions::name other than "auto"
  std::string why;      // for people
  Footprint footprint;  // of each device; of "cuda" only
};

// "auto" is "cuda" where the program has it, all wanted devices are there and each has enough free
// memory, and "cpu" otherwise. INVALID_ARGUMENT: "cuda" can't run here, or a device is wanted that
// is not among those that there are, "auto" or not. RESOURCE_EXHAUSTED: "cuda" lacks memory; says
// how much is needed, how much there is and what helps. Errors of `measure`: the model's.
absl::StatusOr<Choice> ChooseBackend(const Wanted& wanted);

}  // namespace softsplice
