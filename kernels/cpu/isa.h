// The instruction sets that the CPU kernels are built for, and what this process may use.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace softsplice {

enum class Isa : uint8_t {
  kGeneric,  // no requirement
  kAvx2,     // AVX2, FMA, F16C
  kAvx512,   // F, BW, DQ, VL, VNNI
};

bool Supported(Isa isa);
Isa BestIsa();
absl::string_view IsaName(Isa isa);  // "generic", "avx2", "avx512"

// CPUs this process may keep busy: those of its affinity mask, or its cgroup's quota rounded up if
// that is less. At least 1.
int AvailableCpus();

// The CPU quota, rounded up, that the cgroups of `proc_self_cgroup` (the text of that file) and
// their parents set under `root` (/sys/fs/cgroup); 0: none. Both versions of cgroups.
int CgroupCpus(const std::string& proc_self_cgroup, const std::string& root);

}  // namespace softsplice
