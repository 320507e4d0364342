#include "tests/random_model/write.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "kernels/cpu/cpus.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/random_model/blocks.h"

namespace softsplice::random_model {
namespace {

constexpr uint64_t kPiece = 4 << 20;  // bytes that one thread makes at a time, about

// A file that is there under its name once it is complete.
class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(path),
        part_(path + ".part"),
        fd_(open(part_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666)) {
    if (fd_ < 0) error_ = errno;
  }
  ~NewFile() {
    if (fd_ < 0) return;
    (void)close(fd_);
    (void)unlink(part_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  // Thread-safe.
  void Write(const void* bytes, uint64_t size, uint64_t offset) {
    const auto* from = static_cast<const char*>(bytes);
    while (size > 0 && error_ == 0) {
      const ssize_t count = pwrite(fd_, from, size, static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        error_ = errno;
        return;
      }
      from += count;
      offset += static_cast<uint64_t>(count);
      size -= static_cast<uint64_t>(count);
    }
  }
  bool failed() const { return error_ != 0; }

  absl::Status Finish() {
    if (error_ == 0 && rename(part_.c_str(), path_.c_str()) != 0) error_ = errno;
    if (error_ == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(path_, ": ", std::strerror(error_)));
  }

 private:
  std::string path_, part_;
  int fd_;
  std::atomic<int> error_{0};
};

// Some whole blocks of a tensor.
struct Piece {
  const Tensor* tensor;
  const std::optional<Blocks>* blocks;
  uint64_t offset;  // in the file
  uint64_t size;
};

uint64_t Aligned(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

void MakePiece(const Piece& piece, uint64_t seed, NewFile& file) {
  if (!piece.blocks->has_value()) {
    return file.Write(piece.tensor->values.data(), piece.size, piece.offset);
  }
  std::vector<uint8_t> bytes(piece.size);
  (*piece.blocks)->Fill(absl::MakeSpan(bytes), seed);
  file.Write(bytes.data(), bytes.size(), piece.offset);
}

}  // namespace

absl::Status Write(const std::string& path, Model model,
                   absl::FunctionRef<void(uint64_t)> written) {
  std::vector<std::optional<Blocks>> blocks;  // of each tensor that has no values
  uint64_t data = 0;
  for (const Tensor& tensor : model.tensors) {
    model.metadata.RawTensor(tensor.name, static_cast<uint32_t>(tensor.type), tensor.dims, data);
    data += Aligned(tensor.Bytes(), model.metadata.alignment);
    auto& made = blocks.emplace_back();
    if (tensor.values.empty()) made.emplace(tensor.type, tensor.deviation);
  }
  const std::string header = model.metadata.Build();

  std::vector<Piece> pieces;
  uint64_t offset = header.size();
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    const Tensor& tensor = model.tensors[i];
    const uint64_t size = tensor.Bytes();
    const auto block = static_cast<uint64_t>(gguf::Info(tensor.type).block_bytes);
    const uint64_t step = tensor.values.empty() ? kPiece / block * block : size;
    for (uint64_t at = 0; at < size; at += step) {
      pieces.push_back({&tensor, &blocks[i], offset + at, std::min(step, size - at)});
    }
    offset += Aligned(size, model.metadata.alignment);
  }

  NewFile file(path);
  file.Write(header.data(), header.size(), 0);
  ThreadPool pool(AvailableCpus());
  pool.ForEach(static_cast<int>(pieces.size()), [&](int, int i) {
    if (file.failed()) return;
    const Piece& piece = pieces[static_cast<size_t>(i)];
    MakePiece(piece, static_cast<uint64_t>(i), file);
    written(piece.size);
  });
  return file.Finish();
}

}  // namespace softsplice::random_model
