// The fast CPU backend: cuts every op into pieces for a fixed team of threads and runs them with
// the kernels of one instruction set. Ops are done when they return.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"

namespace softsplice {

// `isa` must be supported by the machine. `exact_weights`: see BackendOptions.
std::unique_ptr<Backend> MakeCpuBackend(Isa isa, int threads, bool exact_weights);
// With another table of kernels than the instruction set's own (for tests).
std::unique_ptr<Backend> MakeCpuBackend(const CpuOps& ops, Isa isa, int threads,
                                        bool exact_weights);

}  // namespace softsplice
