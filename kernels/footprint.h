// What a model takes of a device's or the host's memory, known before any of it is taken: the model
// is loaded and run over a backend that only counts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/devices.h"
#include "kernels/null_backend.h"

namespace softsplice {

struct Footprint {
  uint64_t weights = 0;    // as they are packed
  uint64_t caches = 0;     // keys and values
  uint64_t workspace = 0;  // all else that passes need, the largest one counted

  uint64_t Total() const { return weights + caches + workspace; }
};

// A device now, and what a model takes of it.
struct DeviceUse {
  int index = 0;
  DeviceInfo device;  // empty once it is lost
  uint64_t free_bytes = 0;
  Footprint footprint;
};
std::vector<DeviceUse> UseOf(absl::Span<const int> devices, const Footprint& footprint);

// "7.4 GiB (weights 5.1 GiB, keys and values 1.2 GiB, workspace 1.1 GiB)"; without the caches where
// there are none.
std::string Describe(const Footprint& footprint);

// Computes nothing and allocates nothing; what is let go again is not counted any longer. One
// calling thread.
class CountingBackend : public NullBackend {
 public:
  using NullBackend::NullBackend;

  absl::StatusOr<std::shared_ptr<void>> Allocate(size_t bytes) override {
    return Count(buffers_, bytes);
  }
  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override {
    absl::StatusOr<Weight> weight = NullBackend::Pack(tensor, use);
    if (weight.ok()) weight->packed = Count(weights_, PackedBytes(tensor, use));
    return weight;
  }
  absl::StatusOr<Weight> PackPart(const gguf::Tensor& tensor, gguf::Split split) override {
    absl::StatusOr<gguf::Tensor> part = Part(tensor, split);
    return part.ok() ? Pack(*part, Use::kLinear) : part.status();
  }
  void Reserve(absl::FunctionRef<void()> ops) override { ops(); }

  // Of the weights and buffers that there are now, and of what ops worked in; no caches.
  Footprint footprint() const { return {.weights = *weights_, .workspace = *buffers_ + Scratch()}; }

 protected:
  virtual uint64_t PackedBytes(const gguf::Tensor& tensor, Use use) const = 0;
  // What PackPart packs, without data.
  virtual absl::StatusOr<gguf::Tensor> Part(const gguf::Tensor& tensor,
                                            gguf::Split split) const = 0;
  // What the backend keeps for its ops, after the calls that there were.
  virtual uint64_t Scratch() const = 0;

 private:
  using Counter = std::shared_ptr<uint64_t>;  // what is counted may outlive the backend
  static std::shared_ptr<void> Count(const Counter& counter, uint64_t bytes) {
    *counter += bytes;
    return std::shared_ptr<void>(nullptr, [counter, bytes](void*) { *counter -= bytes; });
  }
  static Counter Zero() { return std::make_shared<uint64_t>(0); }

  const Counter weights_ = Zero(), buffers_ = Zero();
};

// Of the backend "cuda"; see MakeCounter of kernels/backend_factory.h, and BackendOptions.
absl::StatusOr<std::unique_ptr<CountingBackend>> MakeDeviceCounter(
    bool exact_weights, int ranks = 1, bool large_tables_on_host = false);

}  // namespace softsplice
