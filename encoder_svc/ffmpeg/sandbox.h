// What softsplice-ffmpeg takes from itself before it looks at a file.
#pragma once

namespace softsplice {

// From here on the process may read and write what is open, allocate kFfmpegHeapBytes and compute;
// anything else ends it, as does its parent's end. False: this system does not let it.
bool EnterSandbox();

}  // namespace softsplice
