// GGUF files of any bytes: opening, look-ups, hyperparameters, dequantisation, inspection.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config/audio_config.h"
#include "common/config/text_config.h"
#include "common/config/vision_config.h"
#include "common/gguf/file.h"
#include "deploy/cli/inspect.h"

namespace softsplice {
namespace {

// A file in memory, with a path that can be opened.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    if (fd_ < 0) std::abort();
    while (size > 0) {
      const ssize_t written = write(fd_, data, size);
      if (written <= 0) std::abort();
      data += written;
      size -= static_cast<size_t>(written);
    }
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  int fd_;
};

void LookUpEverything(const gguf::File& file) {
  for (const auto& [key, value] : file.metadata()) {
    if (!file.Has(key)) std::abort();
    (void)file.IsArray(key);
    (void)file.Int(key);
    (void)file.Float(key);
    (void)file.Bool(key);
    (void)file.String(key);
    (void)file.Ints(key);
    (void)file.StringList(key);
  }
}

// The first and the last block of every tensor: its whole extent must be readable.
void DequantizeEnds(const gguf::File& file) {
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (file.FindOptional(tensor.name) != &tensor) std::abort();
    (void)file.Find(tensor.name, {-1, -1, -1, -1});
    (void)file.FindF32(tensor.name, {tensor.dims[0]});
    const gguf::TypeInfo& info = gguf::Info(tensor.type);
    if (!gguf::IsRead(tensor.type)) continue;
    const auto block = static_cast<size_t>(info.block_bytes);
    if (tensor.RowBytes() * static_cast<size_t>(tensor.Rows()) != tensor.bytes) std::abort();
    std::vector<float> numbers(static_cast<size_t>(info.block_elements));
    gguf::Dequantize(tensor.type, tensor.data, numbers.data(), info.block_elements);
    gguf::Dequantize(tensor.type, tensor.data + tensor.bytes - block, numbers.data(),
                     info.block_elements);
    file.DropPages(tensor);
  }
}

}  // namespace
}  // namespace softsplice

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using softsplice::gguf::File;
  const softsplice::MemoryFile memory(data, size);
  const auto file = File::Open(memory.path());
  if (!file.ok()) return 0;
  softsplice::LookUpEverything(**file);
  softsplice::DequantizeEnds(**file);
  (void)softsplice::TextConfig::FromGguf(**file);
  (void)softsplice::VisionConfig::FromGguf(**file);
  (void)softsplice::AudioConfig::FromGguf(**file);
  using softsplice::InspectAs;
  for (const InspectAs as : {InspectAs::kTensors, InspectAs::kJson, InspectAs::kMemory}) {
    std::ostringstream out;
    const bool described = softsplice::Inspect({memory.path()}, as, out).ok();
    if (!described && as != InspectAs::kMemory) std::abort();
  }
  return 0;
}
