// Which backend a service runs on: "auto" is looked into, and memory before it is taken.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/backend_options.h"
#include "kernels/footprint.h"

namespace softsplice {

// Stays free of a device: the driver loads kernels when they are first used, and rounds allocations
// up. And of the host: for the tokenizer, for the requests that there may be.
inline constexpr uint64_t kSpareBytes = uint64_t{256} << 20;

// What somebody wants to run.
struct Wanted {
  BackendOptions backend;
  // Of "cuda" and "auto": each takes the whole model, or (shared) a part of it. At least one.
  absl::Span<const int> devices;
  bool shared = false;
  // Loads the model over `counter`, of a backend of that name, and runs the largest passes that
  // there will be.
  absl::FunctionRef<absl::StatusOr<Footprint>(CountingBackend& counter, absl::string_view backend)>
      measure;
  // What helps where memory is short, of a device and of the host, for people: "lower --context
  // (now 8192)".
  absl::string_view device_advice, host_advice;
};

struct Choice {
  std::string name;           // a BackendOptions::name other than "auto"
  std::string why;            // for people
  Footprint footprint;        // of each device, or of the host; not of "ref"
  uint64_t weight_bytes = 0;  // of the file, that each backend packs; not of "ref"
};

// "auto" is "cuda" where the program has it, all wanted devices are there and each has enough free
// memory, and "cpu" otherwise. INVALID_ARGUMENT: "cuda" can't run here, or a device is wanted that
// is not among those that there are, "auto" or not; there is no such backend. RESOURCE_EXHAUSTED:
// memory is short; says how much is needed, how much there is and what helps. Errors of `measure`:
// the model's.
absl::StatusOr<Choice> ChooseBackend(const Wanted& wanted);

// The memory that a process on the host needs to start and to work, all told.
uint64_t HostBytes(const Footprint& footprint);

}  // namespace softsplice
