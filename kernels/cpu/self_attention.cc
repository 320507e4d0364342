// Attention of every row to every row of a picture: y = softmax(q k^T) v per head, all float32.
// 4 n^2 dim FLOPs per head against 4 n dim numbers moved: bound by arithmetic. Keys are packed once
// per head into panels [dim][kPanel positions] (a query's column times a vector of keys), values
// into panels [positions][kPanel columns]; a tile of kAttentionTile query rows then runs over
// blocks of kKeyBlock positions with a running softmax. Compiled once per instruction set.
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/ops.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

constexpr int kKeyBlock = 256;
static_assert(kKeyBlock % kPanel == 0);

size_t Packed(int rows, int head_dim) {
  return static_cast<size_t>(PanelsOf(rows) * kPanel) *
         static_cast<size_t>(PanelsOf(head_dim) * kPanel);
}

size_t Scratch(int head_dim) {
  const int dim = PanelsOf(head_dim) * kPanel;
  return static_cast<size_t>(kAttentionTile * (2 * dim + kKeyBlock));
}

// Rows [item.row, item.row + item.rows) of the run; item.row - item.begin is a multiple of kPanel.
void Pack(Mat k, Mat v, int head_dim, const SelfAttentionItem& item) {
  const int n = item.end - item.begin;
  const int columns = PanelsOf(head_dim) * kPanel;
  for (int first = item.row; first < item.row + item.rows; first += kPanel) {
    float* panel =
        item.keys + static_cast<size_t>(first - item.begin) * static_cast<size_t>(head_dim);
    for (int j = 0; j < kPanel; ++j) {
      const float* key = first + j < item.end ? RowOf(k, first + j) + item.column : nullptr;
      for (int d = 0; d < head_dim; ++d) panel[d * kPanel + j] = key == nullptr ? 0 : key[d];
    }
  }
  for (int row = item.row; row < item.row + item.rows; ++row) {
    const float* value = RowOf(v, row) + item.column;
    for (int c = 0; c < columns; c += kPanel) {
      const int count = head_dim - c < kPanel ? head_dim - c : kPanel;
      float* to = item.values + static_cast<size_t>(c) * static_cast<size_t>(n) +
                  static_cast<size_t>(row - item.begin) * kPanel;
      for (int i = 0; i < kPanel; ++i) to[i] = i < count ? value[c + i] : 0;
    }
  }
}

// scores[r][0, kPanel) = q[r] . keys of one panel.
struct ScorePanel {
  const float* q;
  int dim;
  const float* panel;
  float* scores;  // rows of kKeyBlock

  template <int R>
  SIMD_INLINE_MEMBER void operator()() const {
    vf sum[R][2] = {};
    for (int d = 0; d < dim; ++d) {
      const vf k0 = Load(panel + d * kPanel);
      const vf k1 = Load(panel + d * kPanel + kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const vf query = Set(q[r * dim + d]);
        sum[r][0] = Fma(query, k0, sum[r][0]);
        sum[r][1] = Fma(query, k1, sum[r][1]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      Store(scores + r * kKeyBlock, sum[r][0]);
      Store(scores + r * kKeyBlock + kLanes, sum[r][1]);
    }
  }
};

class Tile {
 public:
  Tile(int head_dim, const SelfAttentionItem& item, float* scratch)
      : item_(item),
        head_dim_(head_dim),
        dim_(PanelsOf(head_dim) * kPanel),
        q_(scratch),
        out_(q_ + kAttentionTile * dim_),
        scores_(out_ + kAttentionTile * dim_) {}

  void Run(Mat y, Mat q) {
    const size_t bytes = static_cast<size_t>(head_dim_) * sizeof(float);
    for (int i = 0; i < item_.rows; ++i) {
      __builtin_memcpy(q_ + i * head_dim_, RowOf(q, item_.row + i) + item_.column, bytes);
      top_[i] = kNothing;
      sum_[i] = 0;
    }
    __builtin_memset(out_, 0, static_cast<size_t>(item_.rows * dim_) * sizeof(float));
    for (int first = item_.begin; first < item_.end; first += kKeyBlock) {
      RunBlock(first - item_.begin, item_.end - first < kKeyBlock ? item_.end - first : kKeyBlock);
    }
    for (int i = 0; i < item_.rows; ++i) {
      float* to = RowOf(y, item_.row + i) + item_.column;
      const float factor = 1.0f / sum_[i];
      for (int d = 0; d < head_dim_; ++d) to[d] = out_[i * dim_ + d] * factor;
    }
  }

 private:
  // Positions [first, first + count) of the run.
  void RunBlock(int first, int count) {
    const int padded = PanelsOf(count) * kPanel;
    for (int j = 0; j < padded; j += kPanel) {
      const float* panel =
          item_.keys + static_cast<size_t>(first + j) * static_cast<size_t>(head_dim_);
      for (int i = 0; i < item_.rows; i += kQueryRows) {
        WithRows<kQueryRows>(RowsFrom(i), ScorePanel{q_ + i * head_dim_, head_dim_, panel,
                                                     scores_ + i * kKeyBlock + j});
      }
    }
    for (int i = 0; i < item_.rows; ++i) {
      float* scores = scores_ + i * kKeyBlock;
      for (int j = count; j < padded; ++j) scores[j] = -__builtin_inff();
      alpha_[i] = SoftmaxStep(scores, padded, &top_[i], &sum_[i]);
    }
    const size_t n = static_cast<size_t>(item_.end - item_.begin);
    for (int c = 0; c < dim_; c += kPanel) {
      const PackedRows values{item_.values + static_cast<size_t>(c) * n +
                              static_cast<size_t>(first) * kPanel};
      for (int i = 0; i < item_.rows; i += kQueryRows) {
        WithRows<kQueryRows>(
            RowsFrom(i),
            WeighValues<PackedRows>{out_ + i * dim_ + c, dim_, alpha_ + i, scores_ + i * kKeyBlock,
                                    kKeyBlock, values, 0, count});
      }
    }
  }
  int RowsFrom(int i) const { return item_.rows - i < kQueryRows ? item_.rows - i : kQueryRows; }

  const SelfAttentionItem& item_;
  const int head_dim_;
  const int dim_;
  float* const q_;
  float* const out_;
  float* const scores_;
  float top_[kAttentionTile];
  float sum_[kAttentionTile];
  float alpha_[kAttentionTile];
};

void SelfAttention(Mat y, Mat q, int head_dim, const SelfAttentionItem& item, float* scratch) {
  Tile(head_dim, item, scratch).Run(y, q);
}

}  // namespace

void FillSelfAttention(CpuOps& ops) {
  ops.self_attention_packed = Packed;
  ops.self_attention_scratch = Scratch;
  ops.self_attention_pack = Pack;
  ops.self_attention = SelfAttention;
}

}  // namespace softsplice::SIMD_NAMESPACE
