// Which backend a service runs on: all that its options need to know of kernels/.
#pragma once

#include <cstdint>
#include <string>

namespace softsplice {

// Devices that may share a model out. One adds sums up in two halves (kernels/cuda/tiles.h): more
// would give other bits.
inline constexpr int kMostRanks = 2;

struct BackendOptions {
  // "cpu" (fast, picks the best instruction set), "cpu-generic", "cpu-avx2", "cpu-avx512" (that
  // one, an error where the machine lacks it), "cuda", or "ref" (scalar float32: the oracle, slow).
  // "auto" is for ChooseBackend().
  std::string name = "cpu";
  // Of "cuda": which of the devices that the process sees.
  int device = 0;
  // Of "cuda": a device's memory that may be taken, of a device that others use too; 0: all of it.
  uint64_t device_memory = 0;
  // Of "cuda": wait after each op, so that an error names the op that caused it. Slow.
  bool wait_after_ops = false;
  // Of "cuda": weights that are packed as Use::kLargeTable stay in pinned memory of the host, and
  // kernels read their rows over the bus.
  bool large_tables_on_host = false;
  // 0: as many as the process may use (affinity and cgroup quota).
  int threads = 0;
  // Dequantise quantised weights to float32 when they are packed instead of using integer kernels:
  // slower and larger, exact. Of "cuda": all of it in float32.
  bool exact_weights = false;
};

}  // namespace softsplice
