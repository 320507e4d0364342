#include "deploy/cli/suggestion.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

// Letters to change, add, take away or swap with their neighbours (optimal string alignment).
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> steps(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        steps[i][j] = i + j;
        continue;
      }
      const size_t changed = steps[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      steps[i][j] = std::min({changed, steps[i - 1][j] + 1, steps[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        steps[i][j] = std::min(steps[i][j], steps[i - 2][j - 2] + 1);
      }
    }
  }
  return steps[a.size()][b.size()];
}

}  // namespace

std::string DidYouMean(absl::string_view typed, const std::vector<std::string>& candidates) {
  constexpr size_t kMostSteps = 2;
  constexpr size_t kLongest = 64;
  if (typed.size() > kLongest) return "";
  size_t least = std::min(kMostSteps + 1, (typed.size() + 1) / 2);
  const std::string* nearest = nullptr;
  for (const std::string& candidate : candidates) {
    const size_t steps = Distance(typed, candidate);
    if (steps >= least) continue;
    least = steps;
    nearest = &candidate;
  }
  return nearest == nullptr ? "" : absl::StrCat("; did you mean ", *nearest, "?");
}

}  // namespace softsplice
