// See cuda_backend.h.
#include "kernels/cuda/cuda_backend.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/gguf/types.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/kv_append.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/sound.h"
#include "kernels/devices.h"

namespace softsplice {
namespace {

using namespace cuda;

// Of a weight, packed on the host before they travel.
constexpr size_t kPackBytes = size_t{32} << 20;

// What the `packed` of a table points to; that of a vector points to its numbers.
struct PackedTable {
  Table table;
  std::shared_ptr<void> memory;
};
const Table& TableOf(const Weight& w) {
  return static_cast<const PackedTable*>(w.packed.get())->table;
}
const float* Vector(const Weight& w) { return static_cast<const float*>(w.packed.get()); }

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

class CudaBackend final : public Backend {
 public:
  CudaBackend(const CudaOptions& options, const cudaDeviceProp& device, cudaStream_t stream)
      : options_(options),
        device_(device.name),
        multiprocessors_(device.multiProcessorCount),
        stream_(stream),
        staging_(stream) {}
  ~CudaBackend() override {
    (void)cudaStreamSynchronize(stream_);
    (void)cudaStreamDestroy(stream_);
  }

  std::string Name() const override {
    return absl::StrCat("cuda ", device_, ", device ", options_.device);
  }

  absl::StatusOr<std::shared_ptr<void>> Allocate(size_t bytes) override {
    RETURN_IF_ERROR(ToStatus("Allocate", cudaSetDevice(options_.device)));
    ASSIGN_OR_RETURN(std::shared_ptr<void> memory, AllocateDevice(bytes));
    if (bytes > 0) {
      RETURN_IF_ERROR(ToStatus("Allocate", cudaMemsetAsync(memory.get(), 0, bytes, stream_)));
    }
    return memory;
  }

  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override {
    switch (use) {
      case Use::kLinear:
        return PackLinear(tensor);
      case Use::kTable:
        return PackTable(tensor);
      case Use::kVector:
        return PackVector(tensor);
    }
    return absl::InternalError("no such use of a weight");
  }

  void Upload(Mat dst, const void* host) override {
    const size_t size = SizeOf(dst.type);
    Do("Upload", [&] {
      return staging_.Upload(dst.data, static_cast<size_t>(dst.pitch) * size, host,
                             static_cast<size_t>(dst.cols) * size, static_cast<size_t>(dst.rows));
    });
  }

  void Download(void* host, Mat src) override {
    const size_t size = SizeOf(src.type);
    const size_t row_bytes = static_cast<size_t>(src.cols) * size;
    if (src.rows == 0 || src.cols == 0) return;
    Do("Download", [&] {
      return cudaMemcpy2DAsync(host, row_bytes, src.data, static_cast<size_t>(src.pitch) * size,
                               row_bytes, static_cast<size_t>(src.rows), cudaMemcpyDeviceToHost,
                               stream_);
    });
  }

  absl::Status Wait() override {
    Note(absl::StrCat("after ", last_op_).c_str(), cudaStreamSynchronize(stream_));
    staging_.Reset();
    return std::exchange(status_, absl::OkStatus());
  }

  void Embed(Mat y, Mat ids, const Weight& table, float scale) override {
    Do("Embed", [&] { return LaunchEmbed(stream_, y, ids, TableOf(table), scale); });
  }
  void AddEmbedding(Mat y, Mat ids, const Weight& table) override {
    Do("AddEmbedding", [&] { return LaunchAddEmbedding(stream_, y, ids, TableOf(table)); });
  }
  void GatherRows(Mat y, Mat x, Mat index) override {
    Do("GatherRows", [&] { return LaunchGatherRows(stream_, y, x, index); });
  }
  void ScatterRows(Mat y, Mat x, Mat index) override {
    Do("ScatterRows", [&] { return LaunchScatterRows(stream_, y, x, index); });
  }

  void Matmul(Mat y, Mat x, const Weight& w) override {
    Do("Matmul", [&] { return LaunchMatmul(stream_, y, x, w, options_.exact); });
  }
  void GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up,
                   Gelu gelu) override {
    if (!CanGate(gate, up)) return Backend::GatedMatmul(y, tmp, x, gate, up, gelu);
    Do("GatedMatmul",
       [&] { return LaunchGatedMatmul(stream_, y, x, gate, up, gelu, options_.exact); });
  }

  void RmsNorm(Mat y, Mat x, const Weight* gain, float eps, int group) override {
    Do("RmsNorm", [&] {
      return LaunchRmsNorm(stream_, y, x, gain == nullptr ? nullptr : Vector(*gain), eps, group);
    });
  }
  void AddNorm(Mat x, Mat h, const Weight& gain, float eps) override {
    Do("AddNorm", [&] { return LaunchAddNorm(stream_, x, h, Vector(gain), eps); });
  }
  void LayerNorm(Mat y, Mat x, const Weight& gain, float eps) override {
    Do("LayerNorm", [&] { return LaunchLayerNorm(stream_, y, x, Vector(gain), eps); });
  }

  void Rope(Mat x, Mat positions, const RopeSpec& spec) override {
    const float* frequencies = FrequenciesOf(spec);
    if (frequencies == nullptr) return;
    Do("Rope", [&] {
      return LaunchRope(stream_, x, positions, spec, frequencies,
                        spec.factors == nullptr ? nullptr : Vector(*spec.factors));
    });
  }

  void GeluMul(Mat gate, Mat up, Gelu gelu) override {
    Do("GeluMul", [&] { return LaunchGeluMul(stream_, gate, up, gelu); });
  }
  void Add(Mat y, Mat x) override {
    Do("Add", [&] { return LaunchAdd(stream_, y, x); });
  }
  void Scale(Mat x, float factor) override {
    Do("Scale", [&] { return LaunchScale(stream_, x, factor); });
  }
  void Scale(Mat x, const Weight& w) override {
    Do("Scale", [&] { return LaunchScale(stream_, x, Vector(w)); });
  }
  void Softcap(Mat x, float cap) override {
    Do("Softcap", [&] { return LaunchSoftcap(stream_, x, cap); });
  }

  void KvAppend(const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                const KvPages& pages) override {
    Do("KvAppend", [&] { return LaunchKvAppend(stream_, kv, k, v, rows, pages); });
  }
  void Attention(Mat y, Mat q, const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                 const AttentionSpec& spec) override {
    const AttentionCall call{y, q, kv, rows, pages, spec};
    const AttentionScratchSize size = ScratchFor(call);
    const AttentionScratch scratch{RoomFor<float>(partials_, size.partials),
                                   RoomFor<unsigned>(counters_, size.counters)};
    Do("Attention", [&] { return LaunchAttention(stream_, call, scratch, multiprocessors_); });
  }
  void SelfAttention(Mat y, Mat q, Mat k, Mat v, Mat starts, int heads) override {
    const SelfAttentionCall call{y, q, k, v, starts, heads, options_.exact};
    uint16_t* scratch = RoomFor<uint16_t>(halves_, ScratchFor(call));
    Do("SelfAttention", [&] { return LaunchSelfAttention(stream_, call, scratch); });
  }

  void AveragePool(Mat y, Mat x, int columns, int size) override {
    Do("AveragePool", [&] { return LaunchAveragePool(stream_, y, x, columns, size); });
  }
  void Unfold(Mat y, Mat x, int channels, int first) override {
    Do("Unfold", [&] { return LaunchUnfold(stream_, y, x, channels, first); });
  }
  void Relu(Mat x) override {
    Do("Relu", [&] { return LaunchRelu(stream_, x); });
  }
  void Silu(Mat x) override {
    Do("Silu", [&] { return LaunchSilu(stream_, x); });
  }
  void Glu(Mat y, Mat x) override {
    Do("Glu", [&] { return LaunchGlu(stream_, y, x); });
  }
  void AddVector(Mat x, const Weight& w) override {
    Do("AddVector", [&] { return LaunchAddVector(stream_, x, Vector(w)); });
  }
  void MulVector(Mat x, const Weight& w) override {
    Do("MulVector", [&] { return LaunchMulVector(stream_, x, Vector(w), w.cols); });
  }
  void DepthwiseConv(Mat y, Mat x, const Weight& kernel, Mat starts) override {
    Do("DepthwiseConv", [&] {
      return LaunchDepthwiseConv(stream_, y, x, Vector(kernel), kernel.cols / x.cols, starts);
    });
  }
  void LocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                      const LocalAttentionSpec& spec) override {
    Do("LocalAttention",
       [&] { return LaunchLocalAttention(stream_, y, q, k, v, relative, starts, spec); });
  }

 private:
  // base^(-2i / count), on the device.
  struct Frequencies {
    float base;
    int count;
    std::shared_ptr<void> values;
  };

  struct Scratch {
    std::shared_ptr<void> memory;
    size_t bytes = 0;
  };

  // Keeps the first error since the last Wait().
  void Note(const char* what, cudaError_t error) {
    if (status_.ok()) status_ = ToStatus(what, error);
  }

  // Enqueues an op by `launch`, unless an error has made what it would compute worthless.
  template <class Launch>
  void Do(const char* op, const Launch& launch) {
    if (!status_.ok()) return;
    last_op_ = op;
    cudaError_t error = cudaSetDevice(options_.device);
    if (error == cudaSuccess) error = launch();
    if (error == cudaSuccess && options_.wait_after_ops) error = cudaStreamSynchronize(stream_);
    Note(op, error);
  }

  // `count` numbers to work in, which are zero at first; null after an error.
  template <class T>
  T* RoomFor(Scratch& scratch, size_t count) {
    if (count * sizeof(T) > scratch.bytes) {
      Note("growing", cudaStreamSynchronize(stream_));  // ops may still use it
      scratch = {};
      absl::StatusOr<std::shared_ptr<void>> memory = Allocate(count * sizeof(T));
      if (memory.ok()) {
        scratch = {*std::move(memory), count * sizeof(T)};
      } else {
        status_.Update(memory.status());
      }
    }
    return static_cast<T*>(scratch.memory.get());
  }

  // The memory that holds `bytes` at `from`.
  absl::StatusOr<std::shared_ptr<void>> ToDevice(const void* from, size_t bytes) {
    RETURN_IF_ERROR(ToStatus("Pack", cudaSetDevice(options_.device)));
    ASSIGN_OR_RETURN(std::shared_ptr<void> memory, AllocateDevice(bytes));
    RETURN_IF_ERROR(ToStatus("Pack", staging_.Upload(memory.get(), bytes, from, bytes, 1)));
    return memory;
  }

  absl::StatusOr<Weight> PackLinear(const gguf::Tensor& tensor) {
    Tiles tiles = TilesFor(tensor);
    RETURN_IF_ERROR(ToStatus("Pack", cudaSetDevice(options_.device)));
    ASSIGN_OR_RETURN(std::shared_ptr<void> memory, AllocateDevice(tiles.Bytes()));
    tiles.data = static_cast<const uint8_t*>(memory.get());
    const size_t strip = tiles.StripBytes();
    const int at_once = std::clamp(static_cast<int>(kPackBytes / strip), 1, tiles.Strips());
    std::vector<uint8_t> host(static_cast<size_t>(at_once) * strip);
    for (int first = 0; first < tiles.Strips(); first += at_once) {
      const int end = std::min(first + at_once, tiles.Strips());
      const size_t bytes = static_cast<size_t>(end - first) * strip;
      PackByAll(host.data(), tiles, tensor, first, end);
      RETURN_IF_ERROR(ToStatus("Pack", staging_.Upload(static_cast<uint8_t*>(memory.get()) +
                                                           static_cast<size_t>(first) * strip,
                                                       bytes, host.data(), bytes, 1)));
    }
    return Weight{.rows = tiles.rows,
                  .cols = tiles.cols,
                  .packed = std::make_shared<PackedLinear>(PackedLinear{tiles, std::move(memory)})};
  }

  absl::StatusOr<Weight> PackTable(const gguf::Tensor& tensor) {
    ASSIGN_OR_RETURN(std::shared_ptr<void> memory, ToDevice(tensor.data, tensor.bytes));
    const Table table{tensor.type, static_cast<const uint8_t*>(memory.get()), tensor.RowBytes()};
    return Weight{.rows = static_cast<int>(tensor.Rows()),
                  .cols = static_cast<int>(tensor.Cols()),
                  .packed = std::make_shared<PackedTable>(PackedTable{table, std::move(memory)})};
  }

  absl::StatusOr<Weight> PackVector(const gguf::Tensor& tensor) {
    std::vector<float> numbers(static_cast<size_t>(tensor.Elements()));
    gguf::Dequantize(tensor.type, tensor.data, numbers.data(), tensor.Elements());
    ASSIGN_OR_RETURN(std::shared_ptr<void> memory,
                     ToDevice(numbers.data(), numbers.size() * sizeof(float)));
    return Weight{
        .rows = 1, .cols = static_cast<int>(tensor.Elements()), .packed = std::move(memory)};
  }

  // Null where there is no memory for them.
  const float* FrequenciesOf(const RopeSpec& spec) {
    for (const Frequencies& f : frequencies_) {
      if (f.base == spec.base && f.count == spec.count) {
        return static_cast<const float*>(f.values.get());
      }
    }
    std::vector<float> values(static_cast<size_t>(spec.count / 2));
    for (size_t i = 0; i < values.size(); ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(spec.count);
      values[i] = 1.0f / std::pow(spec.base, exponent);
    }
    absl::StatusOr<std::shared_ptr<void>> memory =
        ToDevice(values.data(), values.size() * sizeof(float));
    if (!memory.ok()) {
      status_.Update(memory.status());
      return nullptr;
    }
    frequencies_.push_back({spec.base, spec.count, *std::move(memory)});
    return static_cast<const float*>(frequencies_.back().values.get());
  }

  const CudaOptions options_;
  const std::string device_;
  const int multiprocessors_;
  const cudaStream_t stream_;
  Staging staging_;
  Scratch partials_, counters_, halves_;  // of attention
  std::vector<Frequencies> frequencies_;
  const char* last_op_ = "nothing";
  absl::Status status_;  // since the last Wait()
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, Devices());
  RETURN_IF_ERROR(CheckThere({options.device}, devices));
  RETURN_IF_ERROR(CheckFit({options.device}, devices));
  RETURN_IF_ERROR(ToStatus("start", cudaSetDevice(options.device)));
  cudaDeviceProp properties;
  RETURN_IF_ERROR(ToStatus("start", cudaGetDeviceProperties(&properties, options.device)));
  cudaStream_t stream = nullptr;
  RETURN_IF_ERROR(ToStatus("start", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)));
  return std::make_unique<CudaBackend>(options, properties, stream);
}

}  // namespace softsplice
