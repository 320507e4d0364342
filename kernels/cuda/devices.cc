// See kernels/devices.h.
#include "kernels/devices.h"

#include <cuda_runtime.h>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/shapes.h"

namespace softsplice {
namespace {

// CUDA's own words for a missing driver are of one that is too old.
const char* Reason(cudaError_t error) {
  if (error == cudaErrorInsufficientDriver) return "there is no driver, or it is too old";
  return cudaGetErrorString(error);
}

// What some kernel needs and the device lacks.
std::string Unfit(const cudaDeviceProp& device) {
  if (device.major < cuda::kLeastCapability) {
    return absl::StrCat("has compute capability ", device.major, ".", device.minor, "; at least ",
                        cuda::kLeastCapability, ".0 is needed");
  }
  if (device.sharedMemPerBlockOptin < cuda::kSharedOfBlock) {
    return absl::StrCat("has ", device.sharedMemPerBlockOptin,
                        " bytes of shared memory for a block; ", cuda::kSharedOfBlock,
                        " are needed");
  }
  return "";
}

}  // namespace

absl::StatusOr<std::vector<DeviceInfo>> Devices() {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  if (error != cudaSuccess) {
    (void)cudaGetLastError();  // it is told here, and nothing else is wrong
    return InvalidField("backend", absl::StrCat("this machine cannot run cuda: ", Reason(error)));
  }
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp device;
    RETURN_IF_ERROR(cuda::ToStatus("Devices", cudaGetDeviceProperties(&device, i)));
    devices.push_back({device.name, device.totalGlobalMem, Unfit(device)});
  }
  return devices;
}

absl::StatusOr<uint64_t> FreeBytes(int device) {
  size_t free = 0;
  size_t total = 0;
  RETURN_IF_ERROR(cuda::ToStatus("FreeBytes", cudaSetDevice(device)));
  RETURN_IF_ERROR(cuda::ToStatus("FreeBytes", cudaMemGetInfo(&free, &total)));
  return free;
}

}  // namespace softsplice
