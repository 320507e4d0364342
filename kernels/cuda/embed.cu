// See embed.h. A thread makes one number; neighbours read one block of the table, from the cache.
#include "kernels/cuda/embed.h"
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/k_numbers.h"

namespace softsplice::cuda {
namespace {

// What function(format) returns, with the format of `type`: one of the structs above.
template <class F>
auto WithFormat(gguf::Type type, F function) {
  switch (type) {
    case gguf::Type::kF32:
      return function(F32{});
    case gguf::Type::kF16:
      return function(F16{});
    case gguf::Type::kBF16:
      return function(BF16{});
    case gguf::Type::kQ4_0:
      return function(Q4_0{});
    case gguf::Type::kQ4_1:
      return function(Q4_1{});
    case gguf::Type::kQ5_0:
      return function(Q5_0{});
    case gguf::Type::kQ5_1:
      return function(Q5_1{});
    case gguf::Type::kQ8_0:
      return function(Q8_0{});
    case gguf::Type::kQ2_K:
      return function(Q2_K{});
    case gguf::Type::kQ3_K:
      return function(Q3_K{});
    case gguf::Type::kQ4_K:
      return function(Q4_K{});
    case gguf::Type::kQ5_K:
      return function(Q5_K{});
    case gguf::Type::kQ6_K:
      return function(Q6_K{});
    case gguf::Type::kIQ4_NL:
      return function(IQ4_NL{});
    case gguf::Type::kIQ4_XS:
      return function(IQ4_XS{});
  }
  __builtin_unreachable();
}

template <class Format, bool kAdd>
struct LookUp {
  View<float> y;
  View<const int> ids;
  Table table;
  float scale;

  __device__ void operator()(int r, int c) const {
    const uint8_t* row = table.data + static_cast<size_t>(*ids.Row(r)) * table.row_bytes;
    const float number = Format::At(
        row + static_cast<size_t>(c / Format::kNumbers) * Format::kBytes, c % Format::kNumbers);
    float& to = y.Row(r)[c];
    to = kAdd ? __fadd_rn(to, number) : scale * number;
  }
};

template <bool kAdd>
cudaError_t LaunchLookUp(cudaStream_t stream, Mat y, Mat ids, const Table& table, float scale) {
  return WithFormat(table.type, [&](auto format) {
    return LaunchForEach(
        stream, y.rows, y.cols,
        LookUp<decltype(format), kAdd>{ViewOf<float>(y), ViewOf<const int>(ids), table, scale});
  });
}

template <class T, bool kScatter>
struct CopyRows {
  View<T> y;
  View<const T> x;
  View<const int> index;

  __device__ void operator()(int r, int c) const {
    const int other = *index.Row(r);
    y.Row(kScatter ? other : r)[c] = x.Row(kScatter ? r : other)[c];
  }
};

template <bool kScatter>
cudaError_t LaunchCopyRows(cudaStream_t stream, Mat y, Mat x, Mat index) {
  const auto launch = [&](auto number) {
    using T = decltype(number);
    return LaunchForEach(
        stream, index.rows, x.cols,
        CopyRows<T, kScatter>{ViewOf<T>(y), ViewOf<const T>(x), ViewOf<const int>(index)});
  };
  return SizeOf(x.type) == 2 ? launch(uint16_t{}) : launch(uint32_t{});
}

}  // namespace

cudaError_t LaunchEmbed(cudaStream_t stream, Mat y, Mat ids, const Table& table, float scale) {
  return LaunchLookUp<false>(stream, y, ids, table, scale);
}

cudaError_t LaunchAddEmbedding(cudaStream_t stream, Mat y, Mat ids, const Table& table) {
  return LaunchLookUp<true>(stream, y, ids, table, 1);
}

cudaError_t LaunchGatherRows(cudaStream_t stream, Mat y, Mat x, Mat index) {
  return LaunchCopyRows<false>(stream, y, x, index);
}

cudaError_t LaunchScatterRows(cudaStream_t stream, Mat y, Mat x, Mat index) {
  return LaunchCopyRows<true>(stream, y, x, index);
}

}  // namespace softsplice::cuda
