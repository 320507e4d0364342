// libde265 for libheif, with limits on what it decodes.
#pragma once

#include <cstdint>

namespace softsplice {

// While it lives, what libheif decodes on this thread is held to limits, whatever the coded data
// say: `picture_pixels` in any picture, two pictures in what should be one, `pixels` in all of
// them. No other threads are started. Not to be nested.
class HevcAllowance {
 public:
  HevcAllowance(uint64_t picture_pixels, uint64_t pixels);
  ~HevcAllowance();
  HevcAllowance(const HevcAllowance&) = delete;
  HevcAllowance& operator=(const HevcAllowance&) = delete;

  // Whether a picture was refused, or had no memory.
  bool exceeded() const;
  bool memory_short() const;
};

}  // namespace softsplice
