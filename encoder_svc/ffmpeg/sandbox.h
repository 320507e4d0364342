// What softsplice-ffmpeg takes from itself before it looks at a file.
#pragma once

#include <cstdint>

namespace softsplice {

// From here on the process may read and write what is open, allocate `heap_bytes` and compute;
// anything else ends it, as does its parent's end. False: this system does not let it.
bool EnterSandbox(uint64_t heap_bytes);

}  // namespace softsplice
