// See weights.h.
#include "kernels/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "common/gguf/types.h"
#include "common/status/macros.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack.h"

namespace softsplice::cuda {
namespace {

// Of a weight, packed on the host before they travel.
constexpr size_t kPackBytes = size_t{32} << 20;

// What the `packed` of a table points to; that of a vector points to its numbers.
struct PackedTable {
  Table table;
  std::shared_ptr<void> memory;
};

// Strips [first, end) by all cores.
void PackByAll(uint8_t* to, const Tiles& tiles, const gguf::Tensor& tensor, int first, int end) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int share = (end - first + cores - 1) / cores;
  std::vector<std::thread> threads;
  for (int begin = first; begin < end; begin += share) {
    threads.emplace_back([=, &tiles, &tensor] {
      PackStrips(to + static_cast<size_t>(begin - first) * tiles.StripBytes(), tiles, tensor, begin,
                 std::min(end, begin + share));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// `parts`: see Tiles.
absl::StatusOr<Weight> PackLinear(Staging& staging, const gguf::Tensor& tensor, int parts = 1) {
  Tiles tiles = NarrowTilesFor(tensor);
  tiles.parts = parts;
  ASSIGN_OR_RETURN(std::shared_ptr<void> memory, AllocateDevice(tiles.Bytes()));
  tiles.data = static_cast<const uint8_t*>(memory.get());
  const size_t strip = tiles.StripBytes();
  const int at_once = std::clamp(static_cast<int>(kPackBytes / strip), 1, tiles.Strips());
  std::vector<uint8_t> host(static_cast<size_t>(at_once) * strip);
  for (int first = 0; first < tiles.Strips(); first += at_once) {
    const int end = std::min(first + at_once, tiles.Strips());
    const size_t bytes = static_cast<size_t>(end - first) * strip;
    PackByAll(host.data(), tiles, tensor, first, end);
    RETURN_IF_ERROR(ToStatus("Pack", staging.Upload(static_cast<uint8_t*>(memory.get()) +
                                                        static_cast<size_t>(first) * strip,
                                                    bytes, host.data(), bytes, 1)));
  }
  return Weight{.rows = tiles.rows,
                .cols = tiles.cols,
                .packed = std::make_shared<PackedLinear>(PackedLinear{tiles, std::move(memory)})};
}

Weight TableIn(std::shared_ptr<void> memory, const gguf::Tensor& tensor) {
  const Table table{tensor.type, static_cast<const uint8_t*>(memory.get()), tensor.RowBytes()};
  return Weight{.rows = static_cast<int>(tensor.Rows()),
                .cols = static_cast<int>(tensor.Cols()),
                .packed = std::make_shared<PackedTable>(PackedTable{table, std::move(memory)})};
}

absl::StatusOr<Weight> PackTable(Staging& staging, const gguf::Tensor& tensor) {
  ASSIGN_OR_RETURN(std::shared_ptr<void> memory, CopyToDevice(staging, tensor.data, tensor.bytes));
  return TableIn(std::move(memory), tensor);
}

absl::StatusOr<Weight> PackVector(Staging& staging, const gguf::Tensor& tensor) {
  std::vector<float> numbers(static_cast<size_t>(tensor.Elements()));
  gguf::Dequantize(tensor.type, tensor.data, numbers.data(), tensor.Elements());
  ASSIGN_OR_RETURN(std::shared_ptr<void> memory,
                   CopyToDevice(staging, numbers.data(), numbers.size() * sizeof(float)));
  return Weight{
      .rows = 1, .cols = static_cast<int>(tensor.Elements()), .packed = std::move(memory)};
}

}  // namespace

absl::StatusOr<std::shared_ptr<void>> CopyToDevice(Staging& staging, const void* from,
                                                   size_t bytes) {
  ASSIGN_OR_RETURN(std::shared_ptr<void> memory, AllocateDevice(bytes));
  RETURN_IF_ERROR(ToStatus("CopyToDevice", staging.Upload(memory.get(), bytes, from, bytes, 1)));
  return memory;
}

absl::StatusOr<Weight> PackWeight(Staging& staging, const gguf::Tensor& tensor, Use use) {
  switch (use) {
    case Use::kLinear:
      return PackLinear(staging, tensor);
    case Use::kTable:
    case Use::kLargeTable:
      return PackTable(staging, tensor);
    case Use::kVector:
      return PackVector(staging, tensor);
  }
  return absl::InternalError("no such use of a weight");
}

absl::StatusOr<Weight> PackPart(Staging& staging, const gguf::Tensor& tensor, gguf::Split split,
                                int rank, int ranks) {
  RETURN_IF_ERROR(PartToPack(tensor, split, ranks).status());
  ASSIGN_OR_RETURN(const gguf::TensorPart part, gguf::PartOf(tensor, split, rank, ranks));
  return PackLinear(staging, part.tensor, split == gguf::Split::kColumns ? ranks : 1);
}

// Pinned memory has the same addresses on the host and on the device.
absl::StatusOr<Weight> PackTableOnHost(const gguf::Tensor& tensor) {
  ASSIGN_OR_RETURN(std::shared_ptr<void> memory, AllocatePinned(tensor.bytes));
  std::memcpy(memory.get(), tensor.data, tensor.bytes);
  return TableIn(std::move(memory), tensor);
}

const Table& TableOf(const Weight& w) {
  return static_cast<const PackedTable*>(w.packed.get())->table;
}
const float* Vector(const Weight& w) { return static_cast<const float*>(w.packed.get()); }
const float* VectorOrNull(const Weight* w) { return w == nullptr ? nullptr : Vector(*w); }

}  // namespace softsplice::cuda
