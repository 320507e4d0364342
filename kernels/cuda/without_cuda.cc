// What a program has that was built without CUDA.
#include "common/status/error.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/devices.h"
#include "kernels/footprint.h"

namespace softsplice {
namespace {

absl::Status WithoutCuda() {
  return InvalidField("backend", "this program was built without CUDA");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions&) {
  return WithoutCuda();
}
absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeCudaRanks(const CudaOptions&,
                                                                    absl::Span<const int>,
                                                                    absl::Duration) {
  return WithoutCuda();
}
absl::StatusOr<std::vector<DeviceInfo>> Devices() { return WithoutCuda(); }
absl::StatusOr<uint64_t> FreeBytes(int) { return WithoutCuda(); }
absl::StatusOr<std::unique_ptr<CountingBackend>> MakeDeviceCounter(bool, int, bool) {
  return WithoutCuda();
}

}  // namespace softsplice
