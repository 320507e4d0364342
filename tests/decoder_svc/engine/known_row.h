// Rows of logits as a runner gives them, for tests of what reads them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/types/span.h"
#include "decoder_svc/engine/row_logits.h"
#include "decoder_svc/engine/sampler.h"
#include "kernels/specs.h"

namespace softsplice {

// What a backend gives of `logits`, which outlive it.
class KnownRow {
 public:
  explicit KnownRow(std::vector<float>& logits) : logits_(logits), ids_(logits.size()) {
    std::iota(ids_.begin(), ids_.end(), 0);
    std::stable_sort(ids_.begin(), ids_.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    ids_.resize(std::min<size_t>(logits.size(), kMostTopLogits));
    double sum = 0;
    for (const float x : logits) sum += std::exp(double{x});
    for (const int32_t id : ids_) values_.push_back(logits[id]);
    known_ = {.ids = ids_,
              .values = values_,
              .max = values_[0],
              .log_sum = static_cast<float>(std::log(sum))};
  }
  RowLogits Best() const { return known_; }
  RowLogits All() const {
    RowLogits known = known_;
    known.all = absl::MakeSpan(logits_);
    return known;
  }
  RowLogits For(const Sampler& sampler) const { return sampler.needs_all() ? All() : Best(); }

 private:
  std::vector<float>& logits_;
  std::vector<int32_t> ids_;
  std::vector<float> values_;
  RowLogits known_;
};

}  // namespace softsplice
