// The fast CPU backend: cuts every op into pieces for a fixed team of threads and runs them with
// the kernels of one instruction set. Ops are done when they return.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/strings/string_view.h"
#include "kernels/backend.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/footprint.h"

namespace softsplice {

// `isa` must be supported by the machine. `exact_weights`: see BackendOptions.
std::unique_ptr<Backend> MakeCpuBackend(Isa isa, int threads, bool exact_weights);
// Counts what it takes.
std::unique_ptr<CountingBackend> MakeCpuCounter(Isa isa, int threads, bool exact_weights);
const CpuOps& OpsOf(Isa isa);
// Memory for the unfinished results of attention's decoding rows: at most so many numbers.
inline constexpr size_t kMostPartialFloats = size_t{8} << 20;
// With any table of kernels (for tests); `isa` is for its name only.
std::unique_ptr<Backend> MakeCpuBackend(const CpuOps& ops, absl::string_view isa, int threads,
                                        bool exact_weights);

}  // namespace softsplice
