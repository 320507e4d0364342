// What ptx.h is, for what blocks tell each other by. Included by device.h.
#pragma once

namespace softsplice::cuda {

// Adds 1 to a counter in the device's memory, and gives what it was. Who counts up after a barrier
// of its block shows what the block has written to all who count up later, and to their blocks
// after their next barrier.
__device__ inline unsigned CountUp(unsigned* counter) {
  unsigned before;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(counter))
               : "memory");
  return before;
}

}  // namespace softsplice::cuda
