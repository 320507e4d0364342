// See recorder.h.
#include "kernels/cuda/recorder.h"

#include <utility>

namespace softsplice::cuda {

cudaError_t Recorder::Run(uint64_t key, absl::FunctionRef<void()> enqueue) {
  if (graphs_.try_emplace(key).second) {
    enqueue();
    return cudaSuccess;
  }
  if (graphs_[key] == nullptr) {
    Graph graph;
    const cudaError_t error = Record(enqueue, &graph);
    if (error != cudaSuccess) return error;
    graphs_[key] = std::move(graph);
  }
  return cudaGraphLaunch(graphs_[key].get(), stream_);
}

cudaError_t Recorder::Record(absl::FunctionRef<void()> enqueue, Graph* graph) {
  cudaError_t error = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) return error;
  enqueue();
  cudaGraph_t recorded = nullptr;
  error = cudaStreamEndCapture(stream_, &recorded);
  if (error != cudaSuccess) return error;
  cudaGraphExec_t executable = nullptr;
  error = cudaGraphInstantiate(&executable, recorded, 0);
  (void)cudaGraphDestroy(recorded);
  graph->reset(executable);
  return error;
}

}  // namespace softsplice::cuda
