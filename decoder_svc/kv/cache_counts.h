// What the caches did since the start.
#pragma once

#include <cstdint>

namespace softsplice {

struct CacheCounts {
  // Tokens of prompts that had to be read, but for the last one, which always is: nobody had read
  // them before, they had made room for others, or only the full layers' blocks were there.
  int64_t missed_new = 0;
  int64_t missed_evicted = 0;
  int64_t missed_window = 0;
  // What went to make room, and what of the second kind there is now.
  int64_t evicted_blocks = 0;  // of full layers
  int64_t evicted_resume_points = 0;
  int64_t resume_points = 0;
};

}  // namespace softsplice
