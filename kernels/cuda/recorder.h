// Work that a stream is given again and again, recorded once and replayed as one graph.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <type_traits>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"

namespace softsplice::cuda {

// Of one stream and one thread.
class Recorder {
 public:
  explicit Recorder(cudaStream_t stream) : stream_(stream) {}

  // Runs the work that `key` stands for. The first time it is enqueued as it is, so that memory and
  // tables which it needs are made; the second time it is recorded; from then on `enqueue` is not
  // called.
  cudaError_t Run(uint64_t key, absl::FunctionRef<void()> enqueue);
  // Memory that was recorded goes. The stream is idle.
  void Forget() { graphs_.clear(); }

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const { (void)cudaGraphExecDestroy(graph); }
  };
  using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Destroy>;

  cudaError_t Record(absl::FunctionRef<void()> enqueue, Graph* graph);

  const cudaStream_t stream_;
  absl::flat_hash_map<uint64_t, Graph> graphs_;  // null: was enqueued once
};

}  // namespace softsplice::cuda
