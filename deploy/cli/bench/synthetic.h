// Text, pictures and sounds that nobody has sent before, made from random numbers.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "absl/time/time.h"

namespace softsplice::bench {

using Random = std::mt19937_64;

// `count` common English words with spaces between.
std::string RandomWords(Random& random, int count);

// The bytes of a BMP file with a random colour in each pixel. `tag` is stored where nobody reads
// it: it changes the file and not the picture, so that caches of files know it as another one.
std::string RandomPicture(Random& random, int width, int height, uint32_t tag);

// The same for a WAV file of random samples: 16 kHz, one channel.
std::string RandomSound(Random& random, absl::Duration length, uint32_t tag);

}  // namespace softsplice::bench
