// See cuda_backend.h.
#include "kernels/cuda/cuda_backend.h"

#include <cuda_runtime.h>

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/comm.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/kv_append.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/recorder.h"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/sound.h"
#include "kernels/cuda/top_logits.h"
#include "kernels/cuda/weights.h"
#include "kernels/devices.h"

namespace softsplice {
namespace {

using namespace cuda;

struct RankOf {
  int index = 0;
  int ranks = 1;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(const CudaOptions& options, const cudaDeviceProp& device, cudaStream_t stream,
              const RankOf& rank, std::unique_ptr<Comm> comm)
      : options_(options),
        rank_(rank),
        comm_(std::move(comm)),
        device_(device.name),
        multiprocessors_(device.multiProcessorCount),
        matmul_{.exact = options.exact, .warpgroups = HasWarpgroups(device)},
        stream_(stream),
        staging_(stream),
        recorder_(stream) {}
  ~CudaBackend() override {
    (void)cudaSetDevice(options_.device);
    comm_ = nullptr;  // nothing waits for others any more
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

  absl::StatusOr<std::shared_ptr<void>> AllocateStaging(size_t bytes) override {
    RETURN_IF_ERROR(ToStatus("AllocateStaging", cudaSetDevice(options_.device)));
    return AllocatePinned(bytes);
  }

  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override {
    RETURN_IF_ERROR(ToStatus("Pack", cudaSetDevice(options_.device)));
    if (use == Use::kLargeTable && options_.large_tables_on_host) return PackTableOnHost(tensor);
    return PackWeight(staging_, tensor, use);
  }

  absl::StatusOr<Weight> PackPart(const gguf::Tensor& tensor, gguf::Split split) override {
    RETURN_IF_ERROR(ToStatus("Pack", cudaSetDevice(options_.device)));
    return cuda::PackPart(staging_, tensor, split, rank_.index, rank_.ranks);
  }
  void AllReduce(Mat x) override {
    if (comm_ == nullptr || x.rows == 0 || !status_.ok() || reserves_) return;
    last_op_ = "AllReduce";
    Note(last_op_, cudaSetDevice(options_.device));
    const size_t count = static_cast<size_t>(x.rows) * static_cast<size_t>(x.cols);
    status_.Update(comm_->AllReduce(stream_, x.Row<float>(0), count));
  }
  void Abort(const absl::Status& why) override {
    if (comm_ != nullptr) comm_->Abort(why);
  }

  void Reserve(absl::FunctionRef<void()> ops) override {
    reserves_ = true;
    ops();
    reserves_ = false;
  }

  DType Operands() const override { return CudaOperands(options_.exact); }

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
    Drain();
    staging_.Reset();
    return std::exchange(status_, absl::OkStatus());
  }

  // A part of what was recorded is worth nothing.
  void Replay(uint64_t key, absl::FunctionRef<void()> ops) override {
    if (options_.wait_after_ops || (comm_ != nullptr && !comm_->CanRecord())) return ops();
    Do("Replay", [&] { return recorder_.Run(key, ops); });
    if (!status_.ok()) recorder_.Forget();
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
    const Linear linear{y, &w};
    MatmulAll({&linear, 1}, x);
  }
  void MatmulAll(absl::Span<const Linear> all, Mat x) override {
    uint16_t* scratch = nullptr;
    for (const Linear& linear : all) scratch = RoomForOperand(x, *linear.w);
    Do("Matmul", [&] { return LaunchMatmuls(stream_, all, x, matmul_, scratch); });
  }
  void GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up,
                   Gelu gelu) override {
    if (!CanGate(gate, up)) return Backend::GatedMatmul(y, tmp, x, gate, up, gelu);
    uint16_t* scratch = RoomForOperand(x, gate);
    Do("GatedMatmul",
       [&] { return LaunchGatedMatmul(stream_, y, x, gate, up, gelu, matmul_, scratch); });
  }
  void MatmulGelu(Mat y, Mat x, const Weight& w, Mat times, Gelu gelu) override {
    uint16_t* scratch = RoomForOperand(x, w);
    Do("MatmulGelu",
       [&] { return LaunchMatmulGelu(stream_, y, x, w, times, gelu, matmul_, scratch); });
  }
  void MatmulSilu(Mat y, Mat x, const Weight& w) override {
    uint16_t* scratch = RoomForOperand(x, w);
    Do("MatmulSilu", [&] { return LaunchMatmulSilu(stream_, y, x, w, matmul_, scratch); });
  }

  void RmsNorm(Mat y, Mat x, const Weight* gain, float eps, int group) override {
    Do("RmsNorm", [&] { return LaunchRmsNorm(stream_, y, x, VectorOrNull(gain), eps, group); });
  }
  void AddNorm(Mat x, Mat h, const Weight& gain, float eps) override {
    Do("AddNorm", [&] { return LaunchAddNorm(stream_, x, h, Vector(gain), eps); });
  }
  void AddNormNorm(Mat y, Mat x, Mat h, const Weight& gain, const Weight* scale,
                   const Weight& next_gain, float eps) override {
    Do("AddNormNorm", [&] {
      return LaunchAddNormNorm(stream_, y, x, h, Vector(gain), VectorOrNull(scale),
                               Vector(next_gain), eps);
    });
  }
  void LayerNorm(Mat y, Mat x, const Weight& gain, float eps) override {
    Do("LayerNorm", [&] { return LaunchLayerNorm(stream_, y, x, Vector(gain), eps, -INFINITY); });
  }
  void LayerNormRelu(Mat x, const Weight& gain, float eps) override {
    Do("LayerNormRelu", [&] { return LaunchLayerNorm(stream_, x, x, Vector(gain), eps, 0); });
  }

  void Rope(Mat x, Mat positions, const RopeSpec& spec) override {
    const RopeTables tables = TablesOf(spec);
    Do("Rope", [&] { return LaunchRope(stream_, x, positions, spec, tables); });
  }
  void HeadNormRope(Mat x, const Weight& gain, float eps, Mat positions,
                    const RopeSpec& rope) override {
    const RopeTables tables = TablesOf(rope);
    Do("HeadNormRope",
       [&] { return LaunchHeadNormRope(stream_, x, Vector(gain), eps, positions, rope, tables); });
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
  void TopLogits(Mat ids, Mat values, Mat stats, Mat logits) override {
    uint64_t* scratch = RoomFor<uint64_t>(keys_, TopLogitsScratch(logits));
    Do("TopLogits", [&] { return LaunchTopLogits(stream_, ids, values, stats, logits, scratch); });
  }

  void KvAppend(const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                const KvPages& pages) override {
    Do("KvAppend", [&] { return LaunchKvAppend(stream_, kv, k, v, rows, pages); });
  }
  void NormAppend(const KvLayer& kv, Mat q, Mat k, Mat v, const Weight& q_gain,
                  const Weight& k_gain, float eps, const RopeSpec& rope, const RowMap& rows,
                  const KvPages& pages) override {
    const RopeTables tables = TablesOf(rope);
    Do("NormAppend", [&] {
      return LaunchNormAppend(stream_, kv, q, k, v, Vector(q_gain), Vector(k_gain), eps, rope,
                              tables, rows, pages);
    });
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
  void PatchAttention(Mat y, Mat q, Mat k, Mat v, const PatchAttentionSpec& spec) override {
    const SelfAttentionCall call{y, q, k, v, spec.starts, spec.heads, options_.exact};
    if (!OnTensorCores(call)) return Backend::PatchAttention(y, q, k, v, spec);
    const RopeSpec rope{.count = q.cols / spec.heads / 2, .base = spec.rope_base};
    const PatchHeads heads{
        Vector(*spec.q_gain), Vector(*spec.k_gain), spec.eps, spec.columns, spec.rows,
        FrequenciesOf(rope)};
    uint16_t* scratch = RoomFor<uint16_t>(halves_, ScratchFor(call));
    Do("PatchAttention", [&] { return LaunchPatchAttention(stream_, call, heads, scratch); });
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
       [&] { return LaunchLocalAttention(stream_, y, q, k, v, relative, starts, {}, spec); });
  }
  void ScaledLocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                            const Weight& q_scale, float k_scale,
                            const LocalAttentionSpec& spec) override {
    const LocalScales scales{Vector(q_scale), q_scale.cols, k_scale};
    Do("ScaledLocalAttention",
       [&] { return LaunchLocalAttention(stream_, y, q, k, v, relative, starts, scales, spec); });
  }
  void GluConv(Mat y, Mat /*tmp*/, Mat x, const Weight& kernel, const Weight& gain, float eps,
               Mat starts) override {
    Do("GluConv", [&] {
      return LaunchGluConv(stream_, y, x, Vector(kernel), kernel.cols / y.cols, Vector(gain), eps,
                           starts);
    });
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

  // Until the stream is idle, or it is clear that it will not be.
  void Drain() {
    if (comm_ != nullptr) return status_.Update(comm_->Wait(stream_));
    Note(absl::StrCat("after ", last_op_).c_str(), cudaStreamSynchronize(stream_));
  }

  // Enqueues an op by `launch`, unless an error has made what it would compute worthless, or there
  // is only to be room for it.
  template <class Launch>
  void Do(const char* op, const Launch& launch) {
    if (!status_.ok() || reserves_) return;
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
      Drain();  // ops may still use it
      recorder_.Forget();
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

  uint16_t* RoomForOperand(const Mat& x, const Weight& w) {
    return RoomFor<uint16_t>(operands_, MatmulScratch(x, w, options_.exact));
  }

  RopeTables TablesOf(const RopeSpec& spec) {
    return {FrequenciesOf(spec), VectorOrNull(spec.factors)};
  }

  // Null after an error, with which no op is enqueued.
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
    Note("Rope", cudaSetDevice(options_.device));
    absl::StatusOr<std::shared_ptr<void>> memory =
        CopyToDevice(staging_, values.data(), values.size() * sizeof(float));
    if (!memory.ok()) {
      status_.Update(memory.status());
      return nullptr;
    }
    frequencies_.push_back({spec.base, spec.count, *std::move(memory)});
    return static_cast<const float*>(frequencies_.back().values.get());
  }

  const CudaOptions options_;
  const RankOf rank_;
  std::unique_ptr<Comm> comm_;  // null: alone
  const std::string device_;
  const int multiprocessors_;
  const MatmulOptions matmul_;
  const cudaStream_t stream_;
  Staging staging_;
  Recorder recorder_;
  Scratch partials_, counters_, halves_;  // of attention
  Scratch keys_;                          // of TopLogits
  Scratch operands_;                      // of matmuls
  std::vector<Frequencies> frequencies_;
  bool reserves_ = false;  // inside of Reserve()
  const char* last_op_ = "nothing";
  absl::Status status_;  // since the last Wait()
};

absl::StatusOr<std::unique_ptr<Backend>> Make(const CudaOptions& options, const RankOf& rank,
                                              std::unique_ptr<Comm> comm) {
  RETURN_IF_ERROR(ToStatus("start", cudaSetDevice(options.device)));
  cudaDeviceProp properties;
  RETURN_IF_ERROR(ToStatus("start", cudaGetDeviceProperties(&properties, options.device)));
  cudaStream_t stream = nullptr;
  RETURN_IF_ERROR(ToStatus("start", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)));
  return std::make_unique<CudaBackend>(options, properties, stream, rank, std::move(comm));
}

absl::Status CheckDevices(absl::Span<const int> wanted) {
  ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, Devices());
  RETURN_IF_ERROR(CheckThere(wanted, devices));
  return CheckFit(wanted, devices);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options) {
  RETURN_IF_ERROR(CheckDevices({options.device}));
  return Make(options, {}, nullptr);
}

absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeCudaRanks(const CudaOptions& options,
                                                                    absl::Span<const int> devices,
                                                                    absl::Duration limit) {
  RETURN_IF_ERROR(CheckDevices(devices));
  const int ranks = static_cast<int>(devices.size());
  const bool different = std::set<int>(devices.begin(), devices.end()).size() == devices.size();
  std::vector<std::unique_ptr<Comm>> comms;
  if (different) {
    ASSIGN_OR_RETURN(comms, MakeNcclComms(devices, limit));
  } else {
    comms = MakeThreadComms(ranks, limit);
  }
  std::vector<std::unique_ptr<Backend>> backends;
  for (int rank = 0; rank < ranks; ++rank) {
    CudaOptions one = options;
    one.device = devices[static_cast<size_t>(rank)];
    ASSIGN_OR_RETURN(backends.emplace_back(),
                     Make(one, {rank, ranks}, std::move(comms[static_cast<size_t>(rank)])));
  }
  return backends;
}

}  // namespace softsplice
