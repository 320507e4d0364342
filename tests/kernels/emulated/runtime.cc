// See cuda_runtime.h. One lock is all devices: one call, or one stream's work, at a time.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "emulation.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

using Work = std::function<bool()>;  // whether it is done; else it is called again

struct EmulatedGraph {
  std::vector<Work> work;
};
struct EmulatedStream {
  int device = 0;
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

struct Piece {
  size_t bytes;
  int device;
};
struct Device {
  size_t used = 0;
  cudaError_t lost = cudaSuccess;
};
struct Machine {
  std::mutex mutex;
  std::map<int, Device> devices;
  std::map<const char*, Piece> memory;
  std::set<EmulatedStream*> streams;
  EmulatedStream default_stream;
  cudaError_t last = cudaSuccess;
};
Machine& TheMachine() {
  static Machine& machine = *new Machine;  // outlives what frees memory at exit
  return machine;
}

thread_local int current_device = 0;
thread_local int captures = 0;  // that the thread has begun

// Runs `call` with the lock and the current device, and keeps its error for cudaGetLastError.
template <class Call>
cudaError_t Locked(const Call& call) {
  Machine& machine = TheMachine();
  const std::lock_guard lock(machine.mutex);
  Device& device = machine.devices[current_device];
  const cudaError_t error = device.lost != cudaSuccess ? device.lost : call(machine, device);
  if (error != cudaSuccess && error != cudaErrorNotReady) machine.last = error;
  return error;
}

bool CountDown(int& fault) { return fault > 0 && --fault == 0; }

// Whether [p, p + bytes) is in one piece of device memory, and whether any of it is in one.
bool Inside(const Machine& machine, const void* p, size_t bytes) {
  const char* first = static_cast<const char*>(p);
  auto piece = machine.memory.upper_bound(first);
  if (piece == machine.memory.begin()) return false;
  --piece;
  return first + bytes <= piece->first + piece->second.bytes;
}
bool Touches(const Machine& machine, const void* p, size_t bytes) {
  const char* first = static_cast<const char*>(p);
  auto piece = machine.memory.lower_bound(first + bytes);
  if (piece == machine.memory.begin()) return false;
  --piece;
  return first < piece->first + piece->second.bytes;
}

// Work of a stream touches no other device's memory.
void Run(Machine& machine, EmulatedStream& stream, uint64_t until) {
  if (stream.done >= until) return;
  for (const auto& [p, piece] : machine.memory) {
    if (piece.device == stream.device) ASAN_UNPOISON_MEMORY_REGION(p, piece.bytes);
  }
  while (stream.done < until && !stream.queue.empty()) {
    if (machine.devices[stream.device].lost == cudaSuccess && !stream.queue.front()()) break;
    stream.queue.pop_front();
    ++stream.done;
  }
  for (const auto& [p, piece] : machine.memory) ASAN_POISON_MEMORY_REGION(p, piece.bytes);
}
void RunAll(Machine& machine, EmulatedStream& stream) {
  Run(machine, stream, stream.done + stream.queue.size());
}

EmulatedStream& StreamOf(Machine& machine, cudaStream_t stream) {
  return stream != nullptr ? *stream : machine.default_stream;
}

cudaError_t AppendWaiting(Machine& machine, cudaStream_t to, Work work) {
  EmulatedStream& stream = StreamOf(machine, to);
  if (stream.captured != nullptr) {
    stream.captured->work.push_back(std::move(work));
  } else {
    stream.queue.push_back(std::move(work));
  }
  return cudaSuccess;
}

cudaError_t Append(Machine& machine, cudaStream_t to, std::function<void()> work) {
  return AppendWaiting(machine, to, [work = std::move(work)] {
    work();
    return true;
  });
}

bool RightKind(const Machine& machine, const void* to, size_t to_bytes, const void* from,
               size_t from_bytes, cudaMemcpyKind kind) {
  const bool to_device = kind != cudaMemcpyDeviceToHost;
  const bool from_device = kind != cudaMemcpyHostToDevice;
  return (to_device ? Inside(machine, to, to_bytes) : !Touches(machine, to, to_bytes)) &&
         (from_device ? Inside(machine, from, from_bytes) : !Touches(machine, from, from_bytes));
}

void* NewMemory(size_t bytes) {
  void* p = nullptr;
  return posix_memalign(&p, 256, bytes) == 0 ? std::memset(p, 0xff, bytes) : nullptr;
}

}  // namespace

void Restore() {
  Machine& machine = TheMachine();
  const std::lock_guard lock(machine.mutex);
  faults = {};
  machine.last = cudaSuccess;
  for (auto& [index, device] : machine.devices) device.lost = cudaSuccess;
}

cudaError_t Enqueue(cudaStream_t stream, dim3 blocks, dim3 threads, size_t shared,
                    const void* kernel, std::function<void()> body) {
  const size_t count = size_t{threads.x} * threads.y * threads.z;
  if (count == 0 || count > 1024 || count % 32 != 0 || blocks.x == 0 || blocks.x > INT32_MAX ||
      blocks.y == 0 || blocks.y > 65535 || blocks.z == 0 || blocks.z > 65535 ||
      shared > kMostShared) {
    return Locked([](Machine&, Device&) { return cudaErrorInvalidConfiguration; });
  }
  return Locked([&](Machine& machine, Device& device) {
    if (StreamOf(machine, stream).device != current_device) return cudaErrorInvalidResourceHandle;
    return Append(machine, stream, [=, &device] {
      if (CountDown(faults.launch)) {
        device.lost = cudaErrorLaunchFailure;
      } else {
        RunGrid(blocks, threads, shared, kernel, body);
      }
    });
  });
}

cudaError_t EnqueueWaiting(cudaStream_t stream, std::function<bool()> work) {
  return Locked(
      [&](Machine& machine, Device&) { return AppendWaiting(machine, stream, std::move(work)); });
}

int CurrentDevice() { return current_device; }

}  // namespace emulation

using namespace emulation;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = faults.devices == cudaSuccess ? faults.device_count : 0;
  return Locked([](Machine&, Device&) { return faults.devices; });
}

cudaError_t cudaSetDevice(int device) {
  if (faults.devices != cudaSuccess) return faults.devices;
  if (device < 0 || device >= faults.device_count) return cudaErrorInvalidDevice;
  current_device = device;
  return Locked([](Machine&, Device&) { return cudaSuccess; });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {.name = "emulation",
                 .totalGlobalMem = faults.memory,
                 .sharedMemPerBlockOptin = faults.shared,
                 .major = faults.major,
                 .minor = 0,
                 .multiProcessorCount = 4};
  return device < 0 || device >= faults.device_count ? cudaErrorInvalidDevice : faults.devices;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return Locked([=](Machine&, Device& device) {
    *total = faults.memory;
    *free = faults.memory - std::min(device.used, faults.memory);
    return cudaSuccess;
  });
}

cudaError_t cudaGetLastError() {
  Machine& machine = TheMachine();
  const std::lock_guard lock(machine.mutex);
  const cudaError_t lost = machine.devices[current_device].lost;
  return lost != cudaSuccess ? lost : std::exchange(machine.last, cudaSuccess);
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
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
  }
  return "unrecognized error code";
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return Locked([=](Machine& machine, Device& device) {
    *memory = nullptr;
    if (captures > 0) return cudaErrorStreamCaptureUnsupported;
    if (bytes == 0) return cudaSuccess;
    if (CountDown(faults.allocation) || device.used + bytes > faults.memory) {
      return cudaErrorMemoryAllocation;
    }
    *memory = NewMemory(bytes);
    if (*memory == nullptr) return cudaErrorMemoryAllocation;
    machine.memory[static_cast<const char*>(*memory)] = {bytes, current_device};
    device.used += bytes;
    ASAN_POISON_MEMORY_REGION(*memory, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  Machine& machine = TheMachine();
  const std::lock_guard lock(machine.mutex);
  const auto found = machine.memory.find(static_cast<const char*>(memory));
  if (found == machine.memory.end()) return machine.last = cudaErrorInvalidValue;
  const Piece piece = found->second;
  for (EmulatedStream* stream : machine.streams) {  // as CUDA does
    if (stream->device == piece.device) RunAll(machine, *stream);
  }
  RunAll(machine, machine.default_stream);
  ASAN_UNPOISON_MEMORY_REGION(memory, piece.bytes);
  machine.devices[piece.device].used -= piece.bytes;
  machine.memory.erase(found);
  std::free(memory);
  return machine.devices[piece.device].lost;
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return Locked([=](Machine&, Device&) {
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
  return Locked([=](Machine& machine, Device&) {
    if (row_bytes > to_pitch || row_bytes > from_pitch ||
        !RightKind(machine, to, to_pitch * (rows - 1) + row_bytes, from,
                   from_pitch * (rows - 1) + row_bytes, kind)) {
      return cudaErrorInvalidValue;
    }
    return Append(machine, stream, [=] {
      for (size_t r = 0; r < rows; ++r) {
        std::memcpy(static_cast<char*>(to) + r * to_pitch,
                    static_cast<const char*>(from) + r * from_pitch, row_bytes);
      }
    });
  });
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return Locked([=](Machine& machine, Device&) {
    if (!Inside(machine, memory, bytes)) return cudaErrorInvalidValue;
    return Append(machine, stream, [=] { std::memset(memory, value, bytes); });
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return Locked([=](Machine& machine, Device&) {
    machine.streams.insert(*stream = new EmulatedStream{.device = current_device});
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Machine& machine = TheMachine();
  const std::lock_guard lock(machine.mutex);
  RunAll(machine, *stream);
  machine.streams.erase(stream);
  const cudaError_t lost = machine.devices[stream->device].lost;
  delete stream;
  return lost;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return Locked([=](Machine& machine, Device&) {
    EmulatedStream& s = StreamOf(machine, stream);
    if (s.captured != nullptr) return cudaErrorStreamCaptureUnsupported;
    RunAll(machine, s);
    if (machine.devices[s.device].lost != cudaSuccess) return machine.devices[s.device].lost;
    return s.queue.empty() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  for (;; std::this_thread::yield()) {
    const cudaError_t error = cudaStreamQuery(stream);
    if (error != cudaErrorNotReady) return error;
  }
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
  return Locked([=](Machine& machine, Device&) {
    EmulatedStream& s = StreamOf(machine, stream);
    if (stream == nullptr || s.captured != nullptr) return cudaErrorStreamCaptureUnsupported;
    *event = {&s, s.done + s.queue.size()};
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return Locked([=](Machine& machine, Device&) {
    if (machine.streams.count(event->stream) == 0) return cudaSuccess;
    Run(machine, *event->stream, event->after);
    return machine.devices[event->stream->device].lost;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return Locked([=](Machine&, Device&) {
    if (stream == nullptr || stream->captured != nullptr) return cudaErrorStreamCaptureUnsupported;
    stream->captured = new EmulatedGraph;
    ++captures;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return Locked([=](Machine&, Device&) {
    *graph = std::exchange(stream->captured, nullptr);
    if (*graph != nullptr) --captures;
    return *graph == nullptr ? cudaErrorInvalidValue : cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return Locked([=](Machine& machine, Device&) {
    for (const Work& work : executable->work) (void)AppendWaiting(machine, stream, work);
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
