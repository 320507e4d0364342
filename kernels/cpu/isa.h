// The instruction sets that the CPU kernels are built for.
#pragma once

#include <cstdint>

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

}  // namespace softsplice
