// Causal attention over paged caches: y = softmax(q k^T) v, q and y [rows, heads * dim] float32,
// caches F16 or F32. Bytes moved: the keys and values in sight, once per tile of kAttentionTile
// (query rows x heads of a group); halves widen on the way into the registers. Compiled once per
// instruction set.
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/ops.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

constexpr int kMostBlock = 64;
// Positions per block: a block of float32 keys and one of values fit the second-level cache.
SIMD_INLINE int BlockOf(int head_dim) { return head_dim <= 256 ? 64 : 32; }

// Scores of R query rows against the keys of positions [begin, end), from `column` on.
template <class T>
struct ScoreKeys {
  const float* q;
  int dim;  // padded
  const T* const* keys;
  int column;
  int begin;
  int end;
  float* scores;  // rows of kMostBlock

  template <int R, int K>
  SIMD_INLINE_MEMBER void Group(int j) const {
    vf sum[R][K] = {};
    for (int d = 0; d < dim; d += kLanes) {
      vf key[K];
#pragma GCC unroll 2
      for (int k = 0; k < K; ++k) key[k] = Load(keys[j + k] + column + d);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        vf query = Load(q + r * dim + d);
        Keep(query);
#pragma GCC unroll 2
        for (int k = 0; k < K; ++k) sum[r][k] = Fma(query, key[k], sum[r][k]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      float* to = scores + r * kMostBlock + j;
      if constexpr (K == 2) {
        StoreLaneSums(to, sum[r][0], sum[r][1]);
      } else {
        *to = Sum(sum[r][0]);
      }
    }
  }

  template <int R>
  SIMD_INLINE_MEMBER void operator()() const {
    int j = begin;
    for (; j + 2 <= end; j += 2) Group<R, 2>(j);
    if (j < end) Group<R, 1>(j);
  }
};

// One item's state; the arrays lie in the scratch.
template <class T>
class Tile {
 public:
  Tile(const AttentionCall& call, const AttentionItem& item, float* scratch)
      : call_(call),
        item_(item),
        per_head_(item.rows * call.group),
        queries_(item.kv_heads * per_head_),
        dim_(PanelsOf(call.head_dim) * kPanel),
        block_(BlockOf(call.head_dim)),
        panel_size_((block_ + 1) * kPanel),
        direct_(dim_ == call.head_dim),
        q_(scratch),
        out_(q_ + kAttentionTile * dim_),
        scores_(out_ + kAttentionTile * dim_),
        keys_(scores_ + kAttentionTile * kMostBlock),
        values_(keys_ + kMostBlock * dim_) {}

  void Run() {
    PackQueries();
    const int begin = FirstVisible(item_.row);
    const int end = IndexOf(call_.positions, item_.row + item_.rows - 1) + 1;
    for (int i = 0; i < queries_; ++i) {
      total_top_[i] = kNothing;
      total_sum_[i] = 0;
      if (item_.partial < 0) Clear(Out(i), call_.head_dim);
    }
    for (int s = item_.first_split; s < item_.first_split + item_.splits; ++s) {
      const int from = s * kAttentionSplit;
      const int to = from + kAttentionSplit < end ? from + kAttentionSplit : end;
      RunSplit(from, begin > from ? begin : from, to);
      for (int i = 0; i < queries_; ++i) FinishSplit(i);
    }
    if (item_.partial >= 0) return;
    for (int i = 0; i < queries_; ++i) Normalise(Out(i), call_.head_dim, total_sum_[i]);
  }

  static void Clear(float* x, int n) { __builtin_memset(x, 0, static_cast<size_t>(n) * 4); }

  // total = total + part, each relative to its own maximum. The only way splits are put together.
  static void Merge(float* total, float* total_top, float* total_sum, const float* part, float top,
                    float sum, int n) {
    const float most = top > *total_top ? top : *total_top;
    const float alpha = Exp(Set(*total_top - most))[0];
    const float beta = Exp(Set(top - most))[0];
    int i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      Store(total + i, Fma(Load(part + i), Set(beta), Load(total + i) * alpha));
    }
    if (i < n) {
      const vf merged =
          Fma(LoadPart(part + i, n - i), Set(beta), LoadPart(total + i, n - i) * alpha);
      StorePart(total + i, merged, n - i);
    }
    *total_sum = *total_sum * alpha + sum * beta;
    *total_top = most;
  }

  static void Normalise(float* x, int n, float sum) {
    const float factor = 1.0f / sum;
    for (int i = 0; i < n; ++i) x[i] *= factor;
  }

 private:
  // The first position that `row` sees.
  int FirstVisible(int row) const {
    const int first = IndexOf(call_.positions, row) - call_.window + 1;
    return call_.window == 0 || first < 0 ? 0 : first;
  }
  int RowOfQuery(int i) const { return item_.row + i % per_head_ / call_.group; }
  int ColumnOfQuery(int i) const {
    const int head = (item_.kv_head + i / per_head_) * call_.group + i % call_.group;
    return head * call_.head_dim;
  }
  float* Out(int i) const { return RowOf(call_.y, RowOfQuery(i)) + ColumnOfQuery(i); }

  void PackQueries() {
    const size_t bytes = static_cast<size_t>(call_.head_dim) * sizeof(float);
    for (int i = 0; i < queries_; ++i) {
      const float* from = RowOf(call_.q, RowOfQuery(i)) + ColumnOfQuery(i);
      Clear(q_ + i * dim_, dim_);
      __builtin_memcpy(q_ + i * dim_, from, bytes);
    }
  }

  // The unfinished softmax of positions [begin, end) of the split that starts at `from`. Blocks are
  // aligned to the split, so that they are the same for every row.
  void RunSplit(int from, int begin, int end) {
    for (int i = 0; i < queries_; ++i) {
      top_[i] = kNothing;
      sum_[i] = 0;
    }
    Clear(out_, queries_ * dim_);
    FindRows(from, begin, end);
    for (int block = from; block < end; block += block_) {
      if (block + block_ <= begin) continue;
      const int first = begin > block ? begin - block : 0;
      const int last = end - block < block_ ? end - block : block_;
      keys_of_block_ = key_rows_ + (block - from);
      values_of_block_ = value_rows_ + (block - from);
      if (direct_) {
        RunBlock(block, first, last);
      } else {
        for (int h = 0; h < item_.kv_heads; ++h) RunOddBlock(block, first, last, h);
      }
    }
  }

  // Positions block + [first, last) for all heads.
  void RunBlock(int block, int first, int last) {
    // Few queries wait for the memory: all heads of a few positions together read it in one sweep.
    const int step = per_head_ <= kQueryRows ? 4 : block_;
    for (int j = first; j < last; j += step) {
      const int end = j + step < last ? j + step : last;
      // The next keys lie where a page does, and values are read a panel's columns at a time: no
      // processor foresees either.
      for (int i = j; i < end; ++i) PrefetchRow(values_of_block_[i]);
      for (int i = end; i < end + step && i < last; ++i) PrefetchRow(keys_of_block_[i]);
      for (int h = 0; h < item_.kv_heads; ++h) {
        Score(keys_of_block_, h, h * call_.head_dim, j, end);
      }
    }
    for (int i = 0; i < queries_; ++i) Softmax(i, block);
    for (int h = 0; h < item_.kv_heads; ++h) {
      for (int column = 0; column < dim_; column += kPanel) {
        Weigh(h, column, ScatteredRows<T>{values_of_block_, h * call_.head_dim + column}, first,
              last);
      }
    }
  }

  // Of all heads, into the second-level cache.
  SIMD_INLINE_MEMBER void PrefetchRow(const T* row) const {
    const char* begin = reinterpret_cast<const char*>(row);
    const int bytes = item_.kv_heads * call_.head_dim * static_cast<int>(sizeof(T));
    for (int i = 0; i < bytes; i += 64) _mm_prefetch(begin + i, _MM_HINT_T1);
  }

  // The same for the one head h whose size is no multiple of the panels'.
  void RunOddBlock(int block, int first, int last, int h) {
    Widen(h * call_.head_dim, first, last);
    Score(wide_keys_, h, 0, first, last);
    for (int i = 0; i < per_head_; ++i) Softmax(h * per_head_ + i, block);
    for (int column = 0; column < dim_; column += kPanel) {
      Weigh(h, column, PackedRows{values_ + column / kPanel * panel_size_}, first, last);
    }
  }

  // Where positions [begin, end) of the split that starts at `from` are.
  void FindRows(int from, int begin, int end) {
    const int32_t* table =
        static_cast<const int32_t*>(call_.table.data) +
        static_cast<size_t>(item_.sequence) * static_cast<size_t>(call_.table.pitch);
    const int pages = IndexOf(call_.blocks, item_.sequence);
    const size_t column = static_cast<size_t>(item_.kv_head * call_.head_dim);
    int page = begin / call_.block_rows % pages;
    int inside = begin % call_.block_rows;
    for (int j = begin - from; j < end - from; ++j) {
      const size_t row = static_cast<size_t>(table[page]) * static_cast<size_t>(call_.block_rows) +
                         static_cast<size_t>(inside);
      key_rows_[j] =
          static_cast<const T*>(call_.k.data) + row * static_cast<size_t>(call_.k.pitch) + column;
      value_rows_[j] =
          static_cast<const T*>(call_.v.data) + row * static_cast<size_t>(call_.v.pitch) + column;
      if (++inside == call_.block_rows) {
        inside = 0;
        if (++page == pages) page = 0;
      }
    }
  }

  // Keys become padded float32 rows, values float32 panels.
  void Widen(int column, int first, int last) {
    const int whole = call_.head_dim / kPanel * kPanel;
    const int panel_size = panel_size_;
    for (int j = first; j < last; ++j) {
      const T* key = keys_of_block_[j] + column;
      const T* value = values_of_block_[j] + column;
      float* to_key = keys_ + j * dim_;
      float* to_value = values_ + j * kPanel;
      wide_keys_[j] = to_key;
      for (int d = 0; d < whole; d += kPanel, to_value += panel_size) {
        Store(to_key + d, Load(key + d));
        Store(to_key + d + kLanes, Load(key + d + kLanes));
        Store(to_value, Load(value + d));
        Store(to_value + kLanes, Load(value + d + kLanes));
      }
      if (whole == dim_) continue;
      for (int d = whole; d < dim_; d += kLanes) {
        Store(to_key + d, LoadEnd(key, d));
        Store(to_value + d - whole, LoadEnd(value, d));
      }
    }
  }
  // Zeros from the head's end on.
  vf LoadEnd(const T* row, int d) const {
    T part[kLanes] = {};
    const int n = call_.head_dim - d < kLanes ? call_.head_dim - d : kLanes;
    if (n > 0) __builtin_memcpy(part, row + d, static_cast<size_t>(n) * sizeof(T));
    return Load(part);
  }

  template <class K>
  void Score(const K* const* keys, int h, int column, int first, int last) {
    for (int i = 0; i < per_head_; i += kQueryRows) {
      const int query = h * per_head_ + i;
      WithRows<kQueryRows>(RowsFrom(i), ScoreKeys<K>{q_ + query * dim_, dim_, keys, column, first,
                                                     last, scores_ + query * kMostBlock});
    }
  }
  int RowsFrom(int i) const { return per_head_ - i < kQueryRows ? per_head_ - i : kQueryRows; }

  // Hides what the row does not see and turns scores into weights.
  void Softmax(int i, int block) {
    const int row = RowOfQuery(i);
    const int first = FirstVisible(row) - block;
    const int last = IndexOf(call_.positions, row) + 1 - block;
    float* scores = scores_ + i * kMostBlock;
    for (int j = 0; j < first && j < block_; ++j) scores[j] = -__builtin_inff();
    for (int j = last > 0 ? last : 0; j < block_; ++j) scores[j] = -__builtin_inff();
    alpha_[i] = SoftmaxStep(scores, block_, &top_[i], &sum_[i]);
  }

  template <class Values>
  void Weigh(int h, int column, Values values, int first, int last) {
    for (int i = 0; i < per_head_; i += kQueryRows) {
      const int query = h * per_head_ + i;
      WithRows<kQueryRows>(
          RowsFrom(i),
          WeighValues<Values>{out_ + query * dim_ + column, dim_, alpha_ + query,
                              scores_ + query * kMostBlock, kMostBlock, values, first, last});
    }
  }

  void FinishSplit(int i) {
    const float* part = out_ + i * dim_;
    if (item_.partial < 0) {
      Merge(Out(i), &total_top_[i], &total_sum_[i], part, top_[i], sum_[i], call_.head_dim);
      return;
    }
    float* to = call_.partials + item_.partial + i * (call_.head_dim + 2);
    __builtin_memcpy(to, part, static_cast<size_t>(call_.head_dim) * sizeof(float));
    to[call_.head_dim] = top_[i];
    to[call_.head_dim + 1] = sum_[i];
  }

  const AttentionCall& call_;
  const AttentionItem& item_;
  const int per_head_;  // query rows of one KV head; those of the next head follow
  const int queries_;
  const int dim_;
  const int block_;
  // One row more than a block has: panels one page apart would share cache lines' places.
  const int panel_size_;
  const bool direct_;
  float* const q_;
  float* const out_;
  float* const scores_;
  float* const keys_;
  float* const values_;
  float top_[kAttentionTile];
  float sum_[kAttentionTile];
  float alpha_[kAttentionTile];
  float total_top_[kAttentionTile];
  float total_sum_[kAttentionTile];
  const T* key_rows_[kAttentionSplit];
  const T* value_rows_[kAttentionSplit];
  const T* const* keys_of_block_;
  const T* const* values_of_block_;
  const float* wide_keys_[kMostBlock];
};

size_t Scratch(const AttentionCall& call) {
  const size_t dim = static_cast<size_t>(PanelsOf(call.head_dim) * kPanel);
  return 2 * kAttentionTile * dim + kAttentionTile * kMostBlock + (2 * kMostBlock + 1) * dim;
}

void Attention(const AttentionCall& call, const AttentionItem& item, float* scratch) {
  if (call.k.type == DType::kF16) {
    Tile<uint16_t>(call, item, scratch).Run();
  } else {
    Tile<float>(call, item, scratch).Run();
  }
}

void Merge(const AttentionCall& call, const AttentionItem& item) {
  const int n = call.head_dim;
  const int per_head = item.rows * call.group;
  const size_t size = static_cast<size_t>(n + 2);
  const size_t split_size = static_cast<size_t>(call.kv_heads * per_head) * size;
  for (int i = 0; i < per_head; ++i) {
    const int head = item.kv_head * call.group + i % call.group;
    float* out = RowOf(call.y, item.row + i / call.group) + head * n;
    const float* part = call.partials + item.partial + static_cast<size_t>(i) * size;
    float top = kNothing;
    float sum = 0;
    Tile<float>::Clear(out, n);
    for (int s = 0; s < item.splits; ++s, part += split_size) {
      Tile<float>::Merge(out, &top, &sum, part, part[n], part[n + 1], n);
    }
    Tile<float>::Normalise(out, n, sum);
  }
}

}  // namespace

void FillAttention(CpuOps& ops) {
  ops.attention_scratch = Scratch;
  ops.attention = Attention;
  ops.attention_merge = Merge;
}

}  // namespace softsplice::SIMD_NAMESPACE
