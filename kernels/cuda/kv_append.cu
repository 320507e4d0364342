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

// A block takes one head of a row's key, or of its value.
template <int kThreads, class T>
__global__ void __launch_bounds__(kThreads)
    NormAppend(Cache<T> cache, View<const float> k, View<const float> v, const float* gain,
               float eps, Rotation rotation) {
  auto& tile = Shared<HeadTile<kThreads>>();
  const bool is_key = blockIdx.z == 0;
  const int r = blockIdx.x, dims = rotation.head_dim, first = blockIdx.y * dims;
  Numbers gains;
  LoadGain<kThreads>(gains, is_key ? gain : nullptr, dims);
  const int position = *rotation.positions.Row(r), row = cache.RowOf(r);
  WaitForPrevious();
  NormHead<kThreads>(tile, (is_key ? k : v).Row(r) + first, dims, gains, eps);
  if (is_key) TurnHead<kThreads>(tile, position, rotation);
  T* to = (is_key ? cache.keys : cache.values).Row(row) + first;
  ForEachNumber<kThreads>(dims, [&](int, int i) { Store(to + i, tile.head[i]); });
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

cudaError_t LaunchNormAppend(cudaStream_t stream, const KvLayer& kv, Mat k, Mat v,
                             const float* gain, float eps, const RopeSpec& spec,
                             const RopeTables& tables, const RowMap& rows, const KvPages& pages) {
  return WithCache(kv, rows, pages, [&]<class T>(const Cache<T>& cache) {
    return WithHeadThreads(spec.head_dim, [&](auto threads) {
      return Launch(stream, dim3(k.rows, k.cols / spec.head_dim, 2), dim3(threads),
                    sizeof(HeadTile<threads>), NormAppend<threads, T>, cache,
                    ViewOf<const float>(k), ViewOf<const float>(v), gain, eps,
                    RotationOf(spec, rows.positions, tables));
    });
  });
}

}  // namespace softsplice::cuda
