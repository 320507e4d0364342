// Amounts of memory, for people.
#pragma once

#include <cstdint>
#include <string>

namespace softsplice {

// "5.1 GiB", "14.0 MiB", "312 bytes".
std::string BytesForPeople(uint64_t bytes);

}  // namespace softsplice
