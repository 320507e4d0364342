// See kv_append.h. Reads 8 bytes and writes 4 (float16) for a key's and a value's number; with
// their norms, 8 more.
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/head_norm.h"
#include "kernels/cuda/kv_append.h"
#include "kernels/cuda/pages.h"

namespace softsplice::cuda {
namespace {

__device__ void Store(float* to, float value) { *to = value; }
__device__ void Store(uint16_t* to, float value) { *to = FloatToHalf(value); }

// Where new rows go. T: the cache's numbers.
template <class T>
struct Cache {
  View<T> keys, values;
  View<const int> sequences, positions;
  Pages pages;

  __device__ int RowOf(int r) const { return pages.RowOf(*sequences.Row(r), *positions.Row(r)); }
};

template <class T>
struct Append {
  Cache<T> cache;
  View<const float> k, v;

  __device__ void operator()(int r, int c) const {
    const int row = cache.RowOf(r);
    Store(cache.keys.Row(row) + c, k.Row(r)[c]);
    Store(cache.values.Row(row) + c, v.Row(r)[c]);
  }
};

// A block takes one head of a row: of its query, its key or its value.
template <int kThreads, class T>
__global__ void __launch_bounds__(kThreads)
    NormAppend(Cache<T> cache, View<float> q, View<const float> k, View<const float> v,
               const float* q_gain, const float* k_gain, float eps, Rotation rotation) {
  auto& tile = Shared<HeadTile<kThreads>>();
  const int r = blockIdx.x, dims = rotation.head_dim, column = blockIdx.y * dims;
  const bool is_query = column < q.cols, is_key = !is_query && column < q.cols + k.cols;
  const int first = column - (is_query ? 0 : is_key ? q.cols : q.cols + k.cols);
  Numbers gains;
  LoadGain<kThreads>(gains, is_query ? q_gain : is_key ? k_gain : nullptr, dims);
  const int position = *rotation.positions.Row(r), row = cache.RowOf(r);
  WaitForPrevious();
  const float* head = is_query ? q.Row(r) : is_key ? k.Row(r) : v.Row(r);
  NormHead<kThreads>(tile, head + first, dims, gains, eps);
  if (is_query || is_key) TurnHead<kThreads>(tile, position, rotation);
  const auto store = [&](auto* to) {
    ForEachNumber<kThreads>(dims, [&](int, int i) { Store(to + i, tile.head[i]); });
  };
  if (is_query) {
    store(q.Row(r) + first);
  } else {
    store((is_key ? cache.keys : cache.values).Row(row) + first);
  }
}

// Calls launch(cache) with a Cache of the right type.
template <class F>
cudaError_t WithCache(const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                      const F& launch) {
  const auto of = [&](auto number) {
    using T = decltype(number);
    return launch(Cache<T>{ViewOf<T>(kv.k), ViewOf<T>(kv.v), ViewOf<const int>(rows.sequences),
                           ViewOf<const int>(rows.positions), PagesOf(pages)});
  };
  return kv.k.type == DType::kF16 ? of(uint16_t{}) : of(float{});
}

}  // namespace

cudaError_t LaunchKvAppend(cudaStream_t stream, const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                           const KvPages& pages) {
  return WithCache(kv, rows, pages, [&]<class T>(const Cache<T>& cache) {
    return LaunchForEach(stream, k.rows, k.cols,
                         Append<T>{cache, ViewOf<const float>(k), ViewOf<const float>(v)});
  });
}

cudaError_t LaunchNormAppend(cudaStream_t stream, const KvLayer& kv, Mat q, Mat k, Mat v,
                             const float* q_gain, const float* k_gain, float eps,
                             const RopeSpec& spec, const RopeTables& tables, const RowMap& rows,
                             const KvPages& pages) {
  return WithCache(kv, rows, pages, [&]<class T>(const Cache<T>& cache) {
    return WithHeadThreads(spec.head_dim, [&](auto threads) {
      return Launch(stream, dim3(k.rows, (q.cols + k.cols + v.cols) / spec.head_dim), dim3(threads),
                    sizeof(HeadTile<threads>), NormAppend<threads, T>, cache, ViewOf<float>(q),
                    ViewOf<const float>(k), ViewOf<const float>(v), q_gain, k_gain, eps,
                    RotationOf(spec, rows.positions, tables));
    });
  });
}

}  // namespace softsplice::cuda
