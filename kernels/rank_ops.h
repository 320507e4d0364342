// What a backend does as one of several that share a model out: a rank, with a thread of its own,
// that has a part of each large weight. All run the same ops in the same order. The bodies here are
// those of one that has the model to itself.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "common/gguf/part.h"
#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice {

class RankOps {
 public:
  virtual ~RankOps() = default;

  // Load time: all of a weight, and a linear layer's part that is this rank's. RESOURCE_EXHAUSTED
  // when memory is short; INVALID_ARGUMENT: it can't be parted.
  virtual absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) = 0;
  virtual absl::StatusOr<Weight> PackPart(const gguf::Tensor& tensor, gguf::Split /*split*/) {
    return Pack(tensor, Use::kLinear);
  }
  // The x of every rank, dense and kF32, becomes the sum of all ranks' x: the same bits for all.
  virtual void AllReduce(Mat /*x*/) {}
  // Any thread: ends what this rank waits for, now and later, with an error; `why`: another rank's.
  virtual void Abort(const absl::Status& /*why*/) {}
};

}  // namespace softsplice
