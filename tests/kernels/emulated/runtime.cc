// See cuda_runtime.h. One lock is the device: one call, or one stream's work, at a time.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "emulation.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

using Work = std::function<void()>;

struct EmulatedGraph {
  std::vector<Work> work;
};
struct EmulatedStream {
  std::deque<Work> queue;
  uint64_t done = 0;                  // pieces of work so far
  EmulatedGraph* captured = nullptr;  // between begin and end of a capture
};
struct EmulatedEvent {
  EmulatedStream* stream = nullptr;
  uint64_t after = 0;  // so many pieces of the stream's work
};

namespace emulation {

Faults faults;

namespace {

struct Device {
  std::mutex mutex;
  std::map<const char*, size_t> memory;
  size_t used = 0;
  std::set<EmulatedStream*> streams;
  EmulatedStream default_stream;
  cudaError_t lost = cudaSuccess;
  cudaError_t last = cudaSuccess;
};
Device& TheDevice() {
  static Device& device = *new Device;  // outlives what frees memory at exit
  return device;
}

// Runs `call` with the device's lock, and keeps its error for cudaGetLastError.
template <class Call>
cudaError_t Locked(const Call& call) {
  Device& device = TheDevice();
  const std::lock_guard lock(device.mutex);
  const cudaError_t error = device.lost != cudaSuccess ? device.lost : call(device);
  if (error != cudaSuccess) device.last = error;
  return error;
}

bool CountDown(int& fault) { return fault > 0 && --fault == 0; }

// Whether [p, p + bytes) is in one piece of device memory, and whether any of it is in one.
bool Inside(const Device& device, const void* p, size_t bytes) {
  const char* first = static_cast<const char*>(p);
  auto piece = device.memory.upper_bound(first);
  if (piece == device.memory.begin()) return false;
  --piece;
  return first + bytes <= piece->first + piece->second;
}
bool Touches(const Device& device, const void* p, size_t bytes) {
  const char* first = static_cast<const char*>(p);
  auto piece = device.memory.lower_bound(first + bytes);
  if (piece == device.memory.begin()) return false;
  --piece;
  return first < piece->first + piece->second;
}

void Run(Device& device, EmulatedStream& stream, uint64_t until) {
  if (stream.done >= until) return;
  for (const auto& [p, bytes] : device.memory) ASAN_UNPOISON_MEMORY_REGION(p, bytes);
  while (stream.done < until && !stream.queue.empty()) {
    const Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    ++stream.done;
    if (device.lost == cudaSuccess) work();
  }
  for (const auto& [p, bytes] : device.memory) ASAN_POISON_MEMORY_REGION(p, bytes);
}
void RunAll(Device& device, EmulatedStream& stream) {
  Run(device, stream, stream.done + stream.queue.size());
}

EmulatedStream& StreamOf(Device& device, cudaStream_t stream) {
  return stream != nullptr ? *stream : device.default_stream;
}

bool Capturing(const Device& device) {
  return std::any_of(device.streams.begin(), device.streams.end(),
                     [](const EmulatedStream* s) { return s->captured != nullptr; });
}

cudaError_t Append(Device& device, cudaStream_t to, Work work) {
  EmulatedStream& stream = StreamOf(device, to);
  if (stream.captured != nullptr) {
    stream.captured->work.push_back(std::move(work));
  } else {
    stream.queue.push_back(std::move(work));
  }
  return cudaSuccess;
}

bool RightKind(const Device& device, const void* to, size_t to_bytes, const void* from,
               size_t from_bytes, cudaMemcpyKind kind) {
  const bool to_device = kind != cudaMemcpyDeviceToHost;
  const bool from_device = kind != cudaMemcpyHostToDevice;
  return (to_device ? Inside(device, to, to_bytes) : !Touches(device, to, to_bytes)) &&
         (from_device ? Inside(device, from, from_bytes) : !Touches(device, from, from_bytes));
}

void* NewMemory(size_t bytes) {
  void* p = nullptr;
  return posix_memalign(&p, 256, bytes) == 0 ? std::memset(p, 0xff, bytes) : nullptr;
}

}  // namespace

void Restore() {
  Device& device = TheDevice();
  const std::lock_guard lock(device.mutex);
  faults = {};
  device.lost = device.last = cudaSuccess;
}

cudaError_t Enqueue(cudaStream_t stream, dim3 blocks, dim3 threads, size_t shared,
                    const void* kernel, std::function<void()> body) {
  const size_t count = size_t{threads.x} * threads.y * threads.z;
  if (count == 0 || count > 1024 || count % 32 != 0 || blocks.x == 0 || blocks.x > INT32_MAX ||
      blocks.y == 0 || blocks.y > 65535 || blocks.z == 0 || blocks.z > 65535 ||
      shared > kMostShared) {
    return Locked([](Device&) { return cudaErrorInvalidConfiguration; });
  }
  return Locked([&](Device& device) {
    return Append(device, stream, [=, &device] {
      if (CountDown(faults.launch)) {
        device.lost = cudaErrorLaunchFailure;
      } else {
        RunGrid(blocks, threads, shared, kernel, body);
      }
    });
  });
}

}  // namespace emulation

using namespace emulation;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = faults.devices == cudaSuccess ? 1 : 0;
  return Locked([](Device&) { return faults.devices; });
}

cudaError_t cudaSetDevice(int device) {
  return Locked([=](Device&) {
    if (faults.devices != cudaSuccess) return faults.devices;
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {.name = "emulation",
                 .totalGlobalMem = faults.memory,
                 .sharedMemPerBlockOptin = faults.shared,
                 .major = faults.capability,
                 .minor = 0,
                 .multiProcessorCount = 4};
  return cudaSetDevice(device);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return Locked([=](Device& device) {
    *total = faults.memory;
    *free = faults.memory - device.used;
    return cudaSuccess;
  });
}

cudaError_t cudaGetLastError() {
  Device& device = TheDevice();
  const std::lock_guard lock(device.mutex);
  return device.lost != cudaSuccess ? device.lost : std::exchange(device.last, cudaSuccess);
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
  }
  return "unrecognized error code";
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return Locked([=](Device& device) {
    *memory = nullptr;
    if (Capturing(device)) return cudaErrorStreamCaptureUnsupported;
    if (bytes == 0) return cudaSuccess;
    if (CountDown(faults.allocation) || bytes > faults.memory - device.used) {
      return cudaErrorMemoryAllocation;
    }
    *memory = NewMemory(bytes);
    if (*memory == nullptr) return cudaErrorMemoryAllocation;
    device.memory[static_cast<const char*>(*memory)] = bytes;
    device.used += bytes;
    ASAN_POISON_MEMORY_REGION(*memory, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  Device& device = TheDevice();
  const std::lock_guard lock(device.mutex);
  const auto piece = device.memory.find(static_cast<const char*>(memory));
  if (piece == device.memory.end()) return device.last = cudaErrorInvalidValue;
  for (EmulatedStream* stream : device.streams) RunAll(device, *stream);  // as CUDA does
  RunAll(device, device.default_stream);
  ASAN_UNPOISON_MEMORY_REGION(memory, piece->second);
  device.used -= piece->second;
  device.memory.erase(piece);
  std::free(memory);
  return device.lost;
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return Locked([=](Device&) {
    *memory = CountDown(faults.allocation) ? nullptr : NewMemory(bytes);
    return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t row_bytes, size_t rows, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (row_bytes == 0 || rows == 0) return cudaSuccess;
  return Locked([=](Device& device) {
    if (row_bytes > to_pitch || row_bytes > from_pitch ||
        !RightKind(device, to, to_pitch * (rows - 1) + row_bytes, from,
                   from_pitch * (rows - 1) + row_bytes, kind)) {
      return cudaErrorInvalidValue;
    }
    return Append(device, stream, [=] {
      for (size_t r = 0; r < rows; ++r) {
        std::memcpy(static_cast<char*>(to) + r * to_pitch,
                    static_cast<const char*>(from) + r * from_pitch, row_bytes);
      }
    });
  });
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return Locked([=](Device& device) {
    if (!Inside(device, memory, bytes)) return cudaErrorInvalidValue;
    return Append(device, stream, [=] { std::memset(memory, value, bytes); });
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return Locked([=](Device& device) {
    device.streams.insert(*stream = new EmulatedStream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Device& device = TheDevice();
  const std::lock_guard lock(device.mutex);
  RunAll(device, *stream);
  device.streams.erase(stream);
  delete stream;
  return device.lost;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return Locked([=](Device& device) {
    EmulatedStream& s = StreamOf(device, stream);
    if (s.captured != nullptr) return cudaErrorStreamCaptureUnsupported;
    RunAll(device, s);
    return device.lost;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return Locked([=](Device& device) {
    EmulatedStream& s = StreamOf(device, stream);
    if (stream == nullptr || s.captured != nullptr) return cudaErrorStreamCaptureUnsupported;
    *event = {&s, s.done + s.queue.size()};
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return Locked([=](Device& device) {
    if (device.streams.count(event->stream) != 0) Run(device, *event->stream, event->after);
    return device.lost;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return Locked([=](Device&) {
    if (stream == nullptr || stream->captured != nullptr) return cudaErrorStreamCaptureUnsupported;
    stream->captured = new EmulatedGraph;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return Locked([=](Device&) {
    *graph = std::exchange(stream->captured, nullptr);
    return *graph == nullptr ? cudaErrorInvalidValue : cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return Locked([=](Device& device) {
    for (const Work& work : executable->work) (void)Append(device, stream, work);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
