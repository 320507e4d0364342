// See kv_append.h. Reads 8 bytes and writes 4 (float16) for a key's and a value's number.
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/kv_append.h"
#include "kernels/cuda/pages.h"

namespace softsplice::cuda {
namespace {

__device__ void Store(float* to, float value) { *to = value; }
__device__ void Store(uint16_t* to, float value) { *to = FloatToHalf(value); }

template <class T>
struct Append {
  View<T> keys, values;
  View<const float> k, v;
  View<const int> sequences, positions;
  Pages pages;

  __device__ void operator()(int r, int c) const {
    const int row = pages.RowOf(*sequences.Row(r), *positions.Row(r));
    Store(keys.Row(row) + c, k.Row(r)[c]);
    Store(values.Row(row) + c, v.Row(r)[c]);
  }
};

}  // namespace

cudaError_t LaunchKvAppend(cudaStream_t stream, const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                           const KvPages& pages) {
  const auto launch = [&](auto number) {
    using T = decltype(number);
    return LaunchForEach(stream, k.rows, k.cols,
                         Append<T>{ViewOf<T>(kv.k), ViewOf<T>(kv.v), ViewOf<const float>(k),
                                   ViewOf<const float>(v), ViewOf<const int>(rows.sequences),
                                   ViewOf<const int>(rows.positions), PagesOf(pages)});
  };
  return kv.k.type == DType::kF16 ? launch(uint16_t{}) : launch(float{});
}

}  // namespace softsplice::cuda
