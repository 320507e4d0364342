#include "kernels/cpu/matmul/matmul.h"

#include <algorithm>
#include <vector>

#include "common/status/macros.h"
#include "kernels/cpu/matmul/blocking.h"
#include "kernels/cpu/matmul/packed.h"
#include "kernels/host_memory.h"

namespace softsplice {

struct MatmulScratch::Buffers {
  struct Thread {
    HostBuffer rows;   // float layouts: this task's packed activations
    HostBuffer panel;  // an expanded panel
  };
  HostBuffer quantized;  // ActBlocks of all rows
  std::vector<Thread> threads;
};

MatmulScratch::MatmulScratch() : buffers_(std::make_unique<Buffers>()) {}
MatmulScratch::~MatmulScratch() = default;

namespace {

// Below this many activations, handing them out costs more than quantising them.
constexpr int kQuantizeAlone = 16 << 10;

const PackedLinear& Packed(const Weight& w) {
  return *static_cast<const PackedLinear*>(w.packed.get());
}

bool SameInput(const Weight& a, const Weight& b) {
  return !Packed(a).IsFloat() && !Packed(b).IsFloat() && a.cols == b.cols && a.in_lo == b.in_lo &&
         a.in_hi == b.in_hi && Packed(a).kernels == Packed(b).kernels;
}

absl::Status Quantize(Mat x, const Weight& w, HostBuffer& quantized, ThreadPool& pool) {
  const MatmulKernels& kernels = *Packed(w).kernels;
  const int blocks = w.cols / kBlock;
  RETURN_IF_ERROR(
      quantized.Grow(static_cast<size_t>(x.rows) * static_cast<size_t>(blocks) * sizeof(ActBlock)));
  ActBlock* dst = quantized.As<ActBlock>();
  const int tiles = (x.rows + kernels.int_rows - 1) / kernels.int_rows;
  const int grain = std::max(1, kQuantizeAlone / (w.cols * kernels.int_rows));
  pool.ParallelFor(tiles, grain, [&](int begin, int end) {
    for (int tile = begin; tile < end; ++tile) {
      const int row = tile * kernels.int_rows;
      kernels.quantize_rows(dst + static_cast<ptrdiff_t>(row) * blocks, x.Row<float>(row), x.pitch,
                            std::min(kernels.int_rows, x.rows - row), w.cols, w.in_lo, w.in_hi);
    }
  });
  return absl::OkStatus();
}

// One block of rows times one block of outputs.
struct Task {
  int row = 0, rows = 0;
  int out = 0, outs = 0;
};

class TaskRunner {
 public:
  TaskRunner(Mat y, Mat x, const Weight& w, MatmulScratch::Buffers& buffers, int threads)
      : y_(y), x_(x), w_(w), packed_(Packed(w)), kernels_(*packed_.kernels), buffers_(buffers) {
    shape_ = {
        .rows = x.rows,
        .outs = w.rows,
        .depth = packed_.depth,
        .panel = kernels_.panel,
        .tile_rows = packed_.IsFloat() ? kernels_.float_rows : kernels_.int_rows,
        .stream_rows = packed_.IsFloat() ? kernels_.float_rows : kernels_.stream_rows,
        .depth_unit = std::max(packed_.unit, kBlock),
        .weight_bytes = static_cast<double>(packed_.unit_bytes) / (packed_.unit * kernels_.panel),
        .input_bytes = packed_.IsFloat() ? 4.0 : sizeof(ActBlock) / double{kBlock},
        .threads = threads};
    blocking_ = ChooseBlocking(shape_);
    buffers.threads.resize(std::max(buffers.threads.size(), static_cast<size_t>(threads)));
  }

  // Room for what any task needs, so that the threads allocate nothing.
  absl::Status GrowScratch() {
    const auto depth = static_cast<size_t>(std::min(blocking_.depth_block, packed_.depth));
    const auto rows = static_cast<size_t>(std::min(blocking_.row_block, x_.rows));
    for (MatmulScratch::Buffers::Thread& thread : buffers_.threads) {
      if (packed_.IsFloat()) RETURN_IF_ERROR(thread.rows.Grow(sizeof(float) * rows * depth));
      RETURN_IF_ERROR(thread.panel.Grow(ScratchBytes(kernels_.panel, static_cast<int>(depth))));
    }
    return absl::OkStatus();
  }

  int Tasks() const { return blocking_.RowTasks(shape_) * blocking_.OutTasks(shape_); }

  void Run(int index, int thread) {
    const int row_tasks = blocking_.RowTasks(shape_);
    Task task;
    task.row = index % row_tasks * blocking_.row_block;
    task.rows = std::min(blocking_.row_block, x_.rows - task.row);
    task.out = index / row_tasks * blocking_.out_block;
    task.outs = std::min(blocking_.out_block, w_.rows - task.out);
    MatmulScratch::Buffers::Thread& mine = buffers_.threads[static_cast<size_t>(thread)];
    for (int k = 0; k < packed_.depth; k += blocking_.depth_block) {
      Step(task, k, std::min(blocking_.depth_block, packed_.depth - k), mine);
    }
  }

 private:
  void Step(const Task& task, int k, int depth, MatmulScratch::Buffers::Thread& mine) {
    PanelCall call;
    call.y = y_.Row<float>(task.row) + task.out;
    call.y_pitch = y_.pitch;
    call.rows = task.rows;
    call.outs = task.outs;
    call.depth = depth;
    call.resume = k > 0;
    call.last = k + depth == packed_.depth;
    call.lo = w_.out_lo;
    call.hi = w_.out_hi;
    call.panel_stride = static_cast<ptrdiff_t>(packed_.panel_bytes);
    call.w = packed_.panels() +
             static_cast<size_t>(task.out / kernels_.panel) * packed_.panel_bytes +
             static_cast<size_t>(k / packed_.unit) * packed_.unit_bytes;
    if (packed_.IsFloat()) {
      float* rows = mine.rows.As<float>();
      kernels_.pack_rows(rows, x_.Row<float>(task.row) + k, x_.pitch, task.rows,
                         std::min(depth, w_.cols - k), w_.in_lo, w_.in_hi);
      call.x = rows;
    } else {
      call.x_blocks = w_.cols / kBlock;
      call.x_first = k / kBlock;
      call.x = buffers_.quantized.As<const ActBlock>() +
               static_cast<ptrdiff_t>(task.row) * call.x_blocks;
    }
    call.scratch = mine.panel.As<char>();
    kernels_.panels[static_cast<int>(packed_.layout)](call);
  }

  Mat y_, x_;
  const Weight& w_;
  const PackedLinear& packed_;
  const MatmulKernels& kernels_;
  MatmulScratch::Buffers& buffers_;
  MatmulShape shape_;
  Blocking blocking_;
};

absl::Status Multiply(Mat y, Mat x, const Weight& w, MatmulScratch::Buffers& buffers,
                      ThreadPool& pool) {
  TaskRunner runner(y, x, w, buffers, pool.threads());
  RETURN_IF_ERROR(runner.GrowScratch());
  pool.ForEach(runner.Tasks(), [&](int thread, int task) { runner.Run(task, thread); });
  return absl::OkStatus();
}

}  // namespace

absl::Status Matmul(Mat y, Mat x, const Weight& w, MatmulScratch& scratch, ThreadPool& pool) {
  if (x.rows == 0) return absl::OkStatus();
  if (!Packed(w).IsFloat()) RETURN_IF_ERROR(Quantize(x, w, scratch.buffers().quantized, pool));
  return Multiply(y, x, w, scratch.buffers(), pool);
}

absl::Status GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up,
                         absl::FunctionRef<void(Mat gate, Mat up)> gelu_mul, MatmulScratch& scratch,
                         ThreadPool& pool) {
  if (x.rows == 0) return absl::OkStatus();
  RETURN_IF_ERROR(Matmul(y, x, gate, scratch, pool));
  RETURN_IF_ERROR(SameInput(gate, up) ? Multiply(tmp, x, up, scratch.buffers(), pool)
                                      : Matmul(tmp, x, up, scratch, pool));
  gelu_mul(y, tmp);
  return absl::OkStatus();
}

}  // namespace softsplice
