#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/matmul/matmul.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"
#include "kernels/host_ops.h"
#include "kernels/logits.h"

namespace softsplice {
namespace {

// Numbers per piece of a memory-bound op, and how many are not worth waking a thread for.
constexpr int kPiece = 8192;
constexpr int64_t kAlone = 4 * kPiece;
// Rows that local attention works on at a time.
constexpr int kLocalRows = 16;

// The 3x3 patch around one bin of one frame.
void UnfoldPatch(float* y, Mat x, int channels, int frame, int bin) {
  const int bins = x.cols / channels;
  const size_t width = static_cast<size_t>(channels);
  const int begin = std::max(0, bin - 1);
  const int end = std::min(bins, bin + 2);
  for (int f = frame - 1; f <= frame + 1; ++f, y += 3 * width) {
    if (f < 0 || f >= x.rows) {
      std::fill_n(y, 3 * width, 0.0f);
      continue;
    }
    if (bin == 0) std::fill_n(y, width, 0.0f);
    if (bin + 1 == bins) std::fill_n(y + 2 * width, width, 0.0f);
    std::copy(x.Row<float>(f) + begin * channels, x.Row<float>(f) + end * channels,
              y + (begin - (bin - 1)) * channels);
  }
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(const CpuOps& ops, absl::string_view isa, int threads, bool exact_weights)
      : ops_(ops),
        isa_(isa),
        exact_weights_(exact_weights),
        pool_(threads),
        thread_scratch_(static_cast<size_t>(threads)),
        best_(static_cast<size_t>(threads)) {}

  std::string Name() const override {
    return absl::StrCat("cpu ", isa_, " ", pool_.threads(),
                        pool_.threads() == 1 ? " thread" : " threads",
                        exact_weights_ ? " exact" : "");
  }

  absl::StatusOr<std::shared_ptr<void>> Allocate(size_t bytes) override {
    return AllocateHost(bytes);
  }

  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override {
    switch (use) {
      case Use::kLinear:
        return PackLinear(tensor, ops_.matmul, exact_weights_, pool_);
      case Use::kTable:
      case Use::kLargeTable:
        return PackTable(tensor);
      case Use::kVector:
        return PackVector(tensor);
    }
    return absl::InternalError("no such use of a weight");
  }

  void Upload(Mat dst, const void* host) override {
    CopyMat(dst, {const_cast<void*>(host), dst.rows, dst.cols, dst.cols, dst.type});
  }

  void Download(void* host, Mat src) override {
    CopyMat({host, src.rows, src.cols, src.cols, src.type}, src);
  }

  // Memory that was short may be there again: nothing of it stays.
  absl::Status Wait() override { return std::exchange(status_, absl::OkStatus()); }

  void Embed(Mat y, Mat ids, const Weight& table, float scale) override {
    ForRows(y.rows, y.cols, [&](int first, int rows) {
      for (int r = first; r < first + rows; ++r) TableRow(table, Index(ids, r), y.Row<float>(r));
      ops_.scale(y.Rows(first, rows), scale);
    });
  }

  void AddEmbedding(Mat y, Mat ids, const Weight& table) override {
    if (!GrowAll(thread_scratch_, static_cast<size_t>(y.cols))) return;
    pool_.ForEach(y.rows, [&](int thread, int r) {
      float* row = thread_scratch_[static_cast<size_t>(thread)].As<float>();
      TableRow(table, Index(ids, r), row);
      ops_.add(y.Rows(r, 1), {row, 1, y.cols, y.cols});
    });
  }

  void GatherRows(Mat y, Mat x, Mat index) override {
    ForRows(y.rows, y.cols, [&](int first, int rows) {
      for (int r = first; r < first + rows; ++r) CopyMat(y.Rows(r, 1), x.Rows(Index(index, r), 1));
    });
  }

  void ScatterRows(Mat y, Mat x, Mat index) override {
    ForRows(x.rows, x.cols, [&](int first, int rows) {
      for (int r = first; r < first + rows; ++r) CopyMat(y.Rows(Index(index, r), 1), x.Rows(r, 1));
    });
  }

  void Matmul(Mat y, Mat x, const Weight& w) override {
    status_.Update(softsplice::Matmul(y, x, w, matmul_scratch_, pool_));
  }

  void GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up,
                   Gelu gelu) override {
    status_.Update(softsplice::GatedMatmul(
        y, tmp, x, gate, up, [&](Mat g, Mat u) { GeluMul(g, u, gelu); }, matmul_scratch_, pool_));
  }

  void RmsNorm(Mat y, Mat x, const Weight* gain, float eps, int group) override {
    const float* gains = gain == nullptr ? nullptr : Floats(*gain);
    ForRows(x.rows, x.cols, [&](int first, int rows) {
      ops_.rms_norm(y.Rows(first, rows), x.Rows(first, rows), gains, eps,
                    group == 0 ? x.cols : group);
    });
  }

  void AddNorm(Mat x, Mat h, const Weight& gain, float eps) override {
    ForRows(x.rows, x.cols, [&](int first, int rows) {
      ops_.add_norm(x.Rows(first, rows), h.Rows(first, rows), Floats(gain), eps);
    });
  }

  void Rope(Mat x, Mat positions, const RopeSpec& spec) override {
    const float* frequencies = FrequenciesOf(spec);
    ForRows(x.rows, x.cols, [&](int first, int rows) {
      ops_.rope(x.Rows(first, rows), positions.Rows(first, rows), frequencies, spec.head_dim,
                spec.first, spec.count / 2);
    });
  }

  void GeluMul(Mat gate, Mat up, Gelu gelu) override {
    ForTiles(gate.rows, gate.cols, [&](int row, int rows, int col, int cols) {
      ops_.gelu_mul(gate.Rows(row, rows).Cols(col, cols), up.Rows(row, rows).Cols(col, cols),
                    gelu == Gelu::kQuick);
    });
  }

  void Add(Mat y, Mat x) override {
    ForTiles(y.rows, y.cols, [&](int row, int rows, int col, int cols) {
      ops_.add(y.Rows(row, rows).Cols(col, cols), x.Rows(row, rows).Cols(col, cols));
    });
  }

  void Scale(Mat x, float factor) override {
    ForTiles(x.rows, x.cols, [&](int row, int rows, int col, int cols) {
      ops_.scale(x.Rows(row, rows).Cols(col, cols), factor);
    });
  }

  void Scale(Mat x, const Weight& w) override { Scale(x, Floats(w)[0]); }

  void Softcap(Mat x, float cap) override {
    ForTiles(x.rows, x.cols, [&](int row, int rows, int col, int cols) {
      ops_.softcap(x.Rows(row, rows).Cols(col, cols), cap);
    });
  }

  void TopLogits(Mat ids, Mat values, Mat stats, Mat logits) override {
    pool_.ForEach(logits.rows, [&](int thread, int r) {
      const auto row = absl::MakeConstSpan(logits.Row<float>(r), logits.cols);
      const float max = FiniteMax(row);
      stats.Row<float>(r)[0] = max;
      stats.Row<float>(r)[1] = static_cast<float>(max + std::log(SumExp(row, max, 1)));
      if (std::isnan(max)) return;
      std::vector<ScoredToken>& best = best_[static_cast<size_t>(thread)];
      BestLogits(row, static_cast<size_t>(ids.cols), &best);
      for (size_t i = 0; i < best.size(); ++i) {
        ids.Row<int32_t>(r)[i] = best[i].token;
        values.Row<float>(r)[i] = best[i].logit;
      }
    });
  }

  void KvAppend(const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                const KvPages& pages) override {
    const auto store = [this](Mat cache, size_t slot, Mat x) {
      const size_t at = slot * static_cast<size_t>(cache.pitch);
      if (cache.type == DType::kF16) {
        ops_.to_half(static_cast<uint16_t*>(cache.data) + at, x.Row<float>(0), x.cols);
      } else {
        std::copy_n(x.Row<float>(0), x.cols, static_cast<float*>(cache.data) + at);
      }
    };
    ForRows(k.rows, 2 * k.cols, [&](int first, int count) {
      for (int r = first; r < first + count; ++r) {
        const size_t slot = KvRow(pages, Index(rows.sequences, r), Index(rows.positions, r));
        store(kv.k, slot, k.Rows(r, 1));
        store(kv.v, slot, v.Rows(r, 1));
      }
    });
  }

  void Attention(Mat y, Mat q, const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                 const AttentionSpec& spec) override {
    AttentionCall call{.y = y,
                       .q = q,
                       .k = kv.k,
                       .v = kv.v,
                       .positions = rows.positions,
                       .table = pages.table,
                       .blocks = pages.blocks,
                       .block_rows = pages.block_rows,
                       .kv_heads = spec.kv_heads,
                       .group = spec.heads / spec.kv_heads,
                       .head_dim = spec.head_dim,
                       .window = spec.window};
    AttentionPlan& plan = attention_plan_;
    PlanAttention(call, rows.sequences, {pool_.threads(), kMostPartialFloats}, &plan);
    if (!Grow(partials_, plan.partial_floats) ||
        !GrowAll(thread_scratch_, ops_.attention_scratch(call))) {
      return;
    }
    call.partials = partials_.As<float>();
    const int count = static_cast<int>(plan.items.size());
    pool_.ForEach(count, [&](int thread, int i) {
      // From the back: the longest first.
      ops_.attention(call, plan.items[static_cast<size_t>(count - 1 - i)],
                     thread_scratch_[static_cast<size_t>(thread)].As<float>());
    });
    ForRows(static_cast<int>(plan.merges.size()), call.group * call.head_dim,
            [&](int first, int merges) {
              for (int i = first; i < first + merges; ++i) {
                ops_.attention_merge(call, plan.merges[static_cast<size_t>(i)]);
              }
            });
  }

  void SelfAttention(Mat y, Mat q, Mat k, Mat v, Mat starts, int heads) override {
    const int head_dim = q.cols / heads;
    SelfAttentionPlan& plan = self_attention_plan_;
    PlanSelfAttention(ops_, starts, heads, head_dim, nullptr, &plan);
    if (!Grow(packed_, plan.packed_floats) ||
        !GrowAll(thread_scratch_, ops_.self_attention_scratch(head_dim))) {
      return;
    }
    PlanSelfAttention(ops_, starts, heads, head_dim, packed_.As<float>(), &plan);
    pool_.ForEach(static_cast<int>(plan.packs.size()), [&](int, int i) {
      ops_.self_attention_pack(k, v, head_dim, plan.packs[static_cast<size_t>(i)]);
    });
    pool_.ForEach(static_cast<int>(plan.items.size()), [&](int thread, int i) {
      ops_.self_attention(y, q, head_dim, plan.items[static_cast<size_t>(i)],
                          thread_scratch_[static_cast<size_t>(thread)].As<float>());
    });
  }

  void AveragePool(Mat y, Mat x, int columns, int size) override {
    ForRows(y.rows, y.cols * size * size,
            [&](int first, int rows) { ops_.average_pool(y, x, first, rows, columns, size); });
  }

  void Unfold(Mat y, Mat x, int channels, int first) override {
    const int columns = (x.cols / channels + 1) / 2;
    ForRows(y.rows, y.cols, [&](int begin, int rows) {
      for (int r = begin; r < begin + rows; ++r) {
        UnfoldPatch(y.Row<float>(r), x, channels, 2 * (first + r / columns), 2 * (r % columns));
      }
    });
  }

  void LayerNorm(Mat y, Mat x, const Weight& gain, float eps) override {
    ForRows(x.rows, x.cols, [&](int first, int rows) {
      ops_.layer_norm(y.Rows(first, rows), x.Rows(first, rows), Floats(gain), eps);
    });
  }

  void Relu(Mat x) override {
    ForRows(x.rows, x.cols, [&](int first, int rows) { ops_.relu(x.Rows(first, rows)); });
  }

  void Silu(Mat x) override {
    ForRows(x.rows, x.cols, [&](int first, int rows) { ops_.silu(x.Rows(first, rows)); });
  }

  void Glu(Mat y, Mat x) override {
    ForRows(x.rows, x.cols,
            [&](int first, int rows) { ops_.glu(y.Rows(first, rows), x.Rows(first, rows)); });
  }

  void AddVector(Mat x, const Weight& w) override {
    ForRows(x.rows, x.cols,
            [&](int first, int rows) { ops_.add_vector(x.Rows(first, rows), Floats(w)); });
  }

  void MulVector(Mat x, const Weight& w) override {
    ForRows(x.rows, x.cols,
            [&](int first, int rows) { ops_.mul_vector(x.Rows(first, rows), Floats(w), w.cols); });
  }

  void DepthwiseConv(Mat y, Mat x, const Weight& kernel, Mat starts) override {
    const int width = kernel.cols / x.cols;
    if (!Grow(packed_, static_cast<size_t>(kernel.cols))) return;
    // Taps side by side for neighbouring columns.
    for (int j = 0; j < width; ++j) {
      float* tap = packed_.As<float>() + j * x.cols;
      for (int c = 0; c < x.cols; ++c) tap[c] = Floats(kernel)[c * width + j];
    }
    ForRows(x.rows, x.cols, [&](int first, int rows) {
      ops_.depthwise_conv(y, x, packed_.As<float>(), width, starts, first, rows);
    });
  }

  void LocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                      const LocalAttentionSpec& spec) override {
    const LocalAttentionCall call{.y = y,
                                  .q = q,
                                  .k = k,
                                  .v = v,
                                  .relative = relative,
                                  .starts = starts,
                                  .head_dim = q.cols / spec.heads,
                                  .left = spec.left,
                                  .cap = spec.cap};
    if (!GrowAll(thread_scratch_, static_cast<size_t>(spec.left + 1 + ops_.lanes))) return;
    pool_.ForEach((q.rows + kLocalRows - 1) / kLocalRows, [&](int thread, int i) {
      const int first = i * kLocalRows;
      ops_.local_attention(call, first, std::min(kLocalRows, q.rows - first),
                           thread_scratch_[static_cast<size_t>(thread)].As<float>());
    });
  }

 private:
  // What RopeSpec says about angles, per position.
  struct Frequencies {
    float base;
    int count;
    std::shared_ptr<const void> factors;
    std::vector<float> values;
  };

  // False when there is no memory; the next Wait() says so.
  bool Grow(HostBuffer& buffer, size_t floats) {
    const absl::Status status = buffer.Grow(floats * sizeof(float));
    status_.Update(status);
    return status.ok();
  }

  bool GrowAll(std::vector<HostBuffer>& buffers, size_t floats) {
    return std::all_of(buffers.begin(), buffers.end(),
                       [&](HostBuffer& buffer) { return Grow(buffer, floats); });
  }

  // Calls body(first, rows) over pieces of [0, rows) of about a cache's worth of numbers.
  void ForRows(int rows, int cols, absl::FunctionRef<void(int, int)> body) {
    if (pool_.threads() == 1 || int64_t{rows} * cols <= kAlone) return body(0, rows);
    const int grain = std::max(1, kPiece / std::max(1, cols));
    pool_.ParallelFor(rows, grain, [&](int begin, int end) { body(begin, end - begin); });
  }

  // The same for ops that can also be cut between columns.
  void ForTiles(int rows, int cols, absl::FunctionRef<void(int, int, int, int)> body) {
    if (rows >= pool_.threads() || cols < 2 * kPiece) {
      ForRows(rows, cols, [&](int first, int count) { body(first, count, 0, cols); });
      return;
    }
    pool_.ParallelFor(cols, kPiece, [&](int begin, int end) { body(0, rows, begin, end - begin); });
  }

  const float* FrequenciesOf(const RopeSpec& spec) {
    const std::shared_ptr<const void> factors =
        spec.factors == nullptr ? nullptr : spec.factors->packed;
    for (const Frequencies& known : frequencies_) {
      if (known.base == spec.base && known.count == spec.count && known.factors == factors) {
        return known.values.data();
      }
    }
    Frequencies fresh{spec.base, spec.count, factors, {}};
    for (int i = 0; i < spec.count / 2; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(spec.count);
      float frequency = 1.0f / std::pow(spec.base, exponent);
      if (spec.factors != nullptr) frequency /= Floats(*spec.factors)[i];
      fresh.values.push_back(frequency);
    }
    frequencies_.push_back(std::move(fresh));
    return frequencies_.back().values.data();
  }

  const CpuOps& ops_;
  const std::string isa_;
  const bool exact_weights_;
  ThreadPool pool_;
  MatmulScratch matmul_scratch_;
  std::vector<HostBuffer> thread_scratch_;
  std::vector<std::vector<ScoredToken>> best_;  // a thread's
  HostBuffer partials_;
  HostBuffer packed_;
  AttentionPlan attention_plan_;
  SelfAttentionPlan self_attention_plan_;
  std::vector<Frequencies> frequencies_;
  absl::Status status_;  // since the last Wait()
};

}  // namespace

const CpuOps& OpsOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return cpu_avx512::Ops();
    case Isa::kAvx2:
      return cpu_avx2::Ops();
    case Isa::kGeneric:
      break;
  }
  return cpu_generic::Ops();
}

std::unique_ptr<Backend> MakeCpuBackend(Isa isa, int threads, bool exact_weights) {
  return MakeCpuBackend(OpsOf(isa), IsaName(isa), threads, exact_weights);
}

std::unique_ptr<Backend> MakeCpuBackend(const CpuOps& ops, absl::string_view isa, int threads,
                                        bool exact_weights) {
  return std::make_unique<CpuBackend>(ops, isa, threads, exact_weights);
}

}  // namespace softsplice
