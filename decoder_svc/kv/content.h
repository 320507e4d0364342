// What the trunk reads at a position, as one number: positions of equal numbers, after equal ones,
// have equal keys and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "absl/strings/string_view.h"
#include "decoder_svc/kv/recent_map.h"

namespace softsplice {

using Content = uint64_t;

constexpr Content ContentOfToken(int32_t token) { return static_cast<Content>(token); }

// A row of the soft rows that have this number.
constexpr int kMostRowsOfOne = 1 << 20;
constexpr Content ContentOfRow(uint64_t rows, int row) {
  return uint64_t{1} << 63 | rows * kMostRowsOfOne | static_cast<uint64_t>(row);
}

// Numbers soft rows by what they are made of. A number is given once, ever: what is forgotten (the
// names are bounded) gets another one, so two rows are taken for equal only if they are.
// Thread-safe.
class ContentNames {
 public:
  explicit ContentNames(size_t most = 1 << 16) : numbers_(most) {}
  // Of a name that says all that the rows depend on; of rows without a name: one that no others
  // have.
  uint64_t NumberOf(absl::string_view name);

 private:
  std::mutex mutex_;
  uint64_t next_ = 0;
  RecentMap<uint64_t> numbers_;
};

}  // namespace softsplice
