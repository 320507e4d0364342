// Both attentions in float32, for every shape and type. A block is one row and one query head,
// which takes its keys 64 at a time, at multiples of 64; sums are float32, and those of a row do
// not depend on other rows. Reads each key and value once for each query head: nothing is shared.
#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/reduce.h"

namespace softsplice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 64;

__device__ float ToFloat(float x) { return x; }
__device__ float ToFloat(uint16_t x) { return HalfToFloat(x); }

// The cache of a sequence.
template <class T>
struct CachedKeys {
  View<const T> k, v;
  View<const int> sequences, positions;
  Pages pages;
  int group, window;

  __device__ Seen SeenBy(int row) const {
    const int last = *positions.Row(row);
    return {window == 0 ? 0 : max(0, last - window + 1), last};
  }
  __device__ int RowOf(int row, int position) const {
    return pages.RowOf(*sequences.Row(row), position);
  }
};

// The rows of a run.
struct RunKeys {
  View<const float> k, v;
  View<const int> starts;
  int group;

  __device__ Seen SeenBy(int row) const {
    for (int run = 0; run + 1 < starts.rows; ++run) {
      const int end = *starts.Row(run + 1);
      if (row < end) return {*starts.Row(run), end - 1};
    }
    return {0, -1};
  }
  __device__ int RowOf(int, int position) const { return position; }
};

// With the numbers of one output row behind it.
struct PlainTile {
  float weights[kTile];
  float out[1];
};

template <class Keys>
__global__ void __launch_bounds__(kThreads)
    PlainAttention(Output y, View<const float> q, Keys keys, int dim) {
  auto& tile = Shared<PlainTile>();
  float* out = tile.out;
  WaitForPrevious();
  const int row = blockIdx.x, column = blockIdx.y * dim, lane = threadIdx.x % 32;
  const int key_column = blockIdx.y / keys.group * dim;
  const Seen seen = keys.SeenBy(row);
  if (seen.last < seen.first) return;  // in no run
  float top = -INFINITY, sum = 0;
  for (int d = threadIdx.x; d < dim; d += kThreads) out[d] = 0;
  for (int first = seen.first; first <= seen.last; first = (first / kTile + 1) * kTile) {
    const int count = min((first / kTile + 1) * kTile, seen.last + 1) - first;
    for (int i = threadIdx.x / 32; i < count; i += kThreads / 32) {
      const auto* key = keys.k.Row(keys.RowOf(row, first + i)) + key_column;
      float dot = 0;
      for (int d = lane; d < dim; d += 32) dot += q.Row(row)[column + d] * ToFloat(key[d]);
      dot = WarpSum(dot);
      if (lane == 0) tile.weights[i] = dot;
    }
    __syncthreads();
    const float before = top;
    for (int i = 0; i < count; ++i) top = fmaxf(top, tile.weights[i]);
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += kThreads) {
      tile.weights[i] = expf(tile.weights[i] - top);
    }
    __syncthreads();
    const float factor = expf(before - top);
    sum *= factor;
    for (int i = 0; i < count; ++i) sum += tile.weights[i];
    for (int d = threadIdx.x; d < dim; d += kThreads) {
      float value = out[d] * factor;
      for (int i = 0; i < count; ++i) {
        const auto* values = keys.v.Row(keys.RowOf(row, first + i)) + key_column;
        value += tile.weights[i] * ToFloat(values[d]);
      }
      out[d] = value;
    }
    __syncthreads();
  }
  for (int d = threadIdx.x; d < dim; d += kThreads) y.Store(row, column + d, out[d] / sum);
}

template <class Keys>
cudaError_t LaunchPlain(cudaStream_t stream, Mat y, Mat q, const Keys& keys, int heads) {
  const int dim = q.cols / heads;
  return Launch(stream, dim3(q.rows, heads), dim3(kThreads), sizeof(float) * (kTile + dim),
                PlainAttention<Keys>, OutputOf(y), ViewOf<const float>(q), keys, dim);
}

}  // namespace

cudaError_t LaunchPlainAttention(cudaStream_t stream, const AttentionCall& call) {
  const AttentionSpec& spec = call.spec;
  const auto launch = [&](auto number) {
    using T = decltype(number);
    const CachedKeys<T> keys{ViewOf<const T>(call.kv.k),
                             ViewOf<const T>(call.kv.v),
                             ViewOf<const int>(call.rows.sequences),
                             ViewOf<const int>(call.rows.positions),
                             PagesOf(call.pages),
                             spec.heads / spec.kv_heads,
                             spec.window};
    return LaunchPlain(stream, call.y, call.q, keys, spec.heads);
  };
  return call.kv.k.type == DType::kF16 ? launch(uint16_t{}) : launch(float{});
}

cudaError_t LaunchPlainSelfAttention(cudaStream_t stream, const SelfAttentionCall& call) {
  const RunKeys keys{ViewOf<const float>(call.k), ViewOf<const float>(call.v),
                     ViewOf<const int>(call.starts), 1};
  return LaunchPlain(stream, call.y, call.q, keys, call.heads);
}

}  // namespace softsplice::cuda
