// See sound.h. Each kernel but local attention reads its inputs from the cache as often as they are
// used; all write their output once.
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/gates.h"
#include "kernels/cuda/norm_group.h"
#include "kernels/cuda/output.h"
#include "kernels/cuda/sound.h"

namespace softsplice::cuda {
namespace {

// kNumbers neighbours of a row, 4 or 1, loaded and stored at once.
template <int kNumbers>
struct alignas(kNumbers * sizeof(float)) Piece {
  float of[kNumbers];
};
template <int kNumbers>
__device__ Piece<kNumbers> PieceAt(const float* from) {
  return *reinterpret_cast<const Piece<kNumbers>*>(from);
}
template <int kNumbers>
__device__ void StorePiece(const Output& y, int row, int column, const Piece<kNumbers>& piece) {
  if constexpr (kNumbers == 4) {
    y.StoreFour(row, column, piece.of);
  } else {
    y.Store(row, column, piece.of[0]);
  }
}

template <int kNumbers>
struct Patches {
  Output y;
  View<const float> x;
  int channels, first, bins, columns;

  // c counts the pieces of a row.
  __device__ void operator()(int r, int c) const {
    const int tap = c * kNumbers / channels;
    const int frame = 2 * (first + r / columns) + tap / 3 - 1;
    const int bin = 2 * (r % columns) + tap % 3 - 1;
    Piece<kNumbers> piece = {};
    if (frame >= 0 && frame < x.rows && bin >= 0 && bin < bins) {
      piece = PieceAt<kNumbers>(x.Row(frame) + bin * channels + c * kNumbers % channels);
    }
    StorePiece(y, r, c * kNumbers, piece);
  }
};

struct Means {
  View<float> y;
  View<const float> x;
  int columns, size;

  __device__ void operator()(int r, int c) const {
    const int tiles = columns / size;
    const int corner = r / tiles * size * columns + r % tiles * size;
    float sum = 0;
    for (int i = 0; i < size * size; ++i) sum += x.Row(corner + i / size * columns + i % size)[c];
    y.Row(r)[c] = sum / static_cast<float>(size * size);
  }
};

// The first row of the run that row r is in; -1 outside of all runs.
__device__ int RunStart(const View<const int>& starts, int r) {
  int start = -1;
  for (int i = 0; i < starts.rows && *starts.Row(i) <= r; ++i) start = *starts.Row(i);
  return r < *starts.Row(starts.rows - 1) ? start : -1;
}

struct Convolve {
  View<float> y;
  View<const float> x;
  const float* kernel;
  int width;
  View<const int> starts;

  __device__ void operator()(int r, int c) const {
    const int start = RunStart(starts, r);
    if (start < 0) return;
    float sum = 0;
    for (int j = max(0, start - (r - (width - 1))); j < width; ++j) {
      sum += kernel[static_cast<size_t>(c) * width + j] * x.Row(r - (width - 1) + j)[c];
    }
    y.Row(r)[c] = sum;
  }
};

// y = silu(norm(the convolution of a * sigmoid(b)) * gain), a and b being the two halves of x's
// columns: by the threads that a norm of y's rows has, in the order of the ops that it is made of.
// A row of y reads `width` rows of x.
struct GluConvInputs {
  View<const float> x;
  const float* kernel;
  int width;
  View<const int> starts;
  const float* gain;
  float eps;
};

template <int kThreads>
__global__ void __launch_bounds__(kThreads* kGroupsOfBlock<kThreads>)
    GluConv(Output y, GluConvInputs in, int cols) {
  auto& of_warp = Shared<float[kThreads / 32]>();
  const int r = blockIdx.x * kGroupsOfBlock<kThreads> + GroupOfBlock<kThreads>();
  Numbers sums = {};
  WaitForPrevious();
  const int start = RunStart(in.starts, r);
  if (start < 0) return;
  for (int j = max(0, start - (r - (in.width - 1))); j < in.width; ++j) {
    const float* x = in.x.Row(r - (in.width - 1) + j);
    ForEachNumber<kThreads>(cols, [&](int number, int c) {
      sums[number] += in.kernel[c * in.width + j] * (x[c] * Sigmoid(x[cols + c]));
    });
  }
  const float factor = NormFactor<kThreads>(sums, cols, in.eps, of_warp);
  ForEachNumber<kThreads>(cols, [&](int number, int c) {
    y.Store(r, c, SelfGate{}(sums[number] * factor * in.gain[c]));
  });
}

// Local attention: a block has some rows of one head, and in shared memory what they read: queries
// and keys, scaled, values, and the keys of distances. A row is a warp's: eight lanes share a key,
// four keys are taken at once.
constexpr int kLocalRows = 16;
constexpr int kLocalThreads = 256;

struct LocalInputs {
  View<const float> q, k, v, relative;
  View<const int> starts;
  const float* q_scale;  // of `period` columns; null: 1
  int period;
  float k_scale;
  int dim, left;
  float cap;

  // Between rows: no two of the lanes that read four keys at once meet in a bank.
  __host__ __device__ int Pitch() const { return (dim + 23) / 32 * 32 + 8; }
  // Rows of keys, and of values.
  __host__ __device__ int Keys() const { return kLocalRows + left; }
  __host__ __device__ size_t SharedNumbers() const {
    return static_cast<size_t>(kLocalRows + 2 * Keys() + left + 1) * Pitch() +
           static_cast<size_t>(kLocalRows) * (left + 1);
  }
};

// kNumbers neighbours of a row are loaded at once.
template <int kNumbers>
class LocalBlock {
 public:
  __device__ explicit LocalBlock(const LocalInputs& in)
      : in_(in),
        pitch_(in.Pitch()),
        first_(blockIdx.x * kLocalRows),
        column_(blockIdx.y * in.dim),
        queries_(&Shared<float>()),
        keys_(queries_ + kLocalRows * pitch_),
        values_(keys_ + in.Keys() * pitch_),
        relative_(values_ + in.Keys() * pitch_),
        weights_(relative_ + (in.left + 1) * pitch_) {}

  __device__ void Load() {
    const int before = first_ - in_.left;  // the row of the first key
    Copy(queries_, in_.q, first_, kLocalRows, [&](int c) {
      return in_.q_scale == nullptr ? 1 : in_.q_scale[(column_ + c) % in_.period];
    });
    Copy(keys_, in_.k, before, in_.Keys(), [&](int) { return in_.k_scale; });
    Copy(values_, in_.v, before, in_.Keys(), [](int) { return 1.0f; });
    Copy(relative_, in_.relative, 0, in_.left + 1, [](int) { return 1.0f; });
  }

  __device__ void Attend(const Output& y, int row) {
    const int start = RunStart(in_.starts, row);
    if (start < 0) return;
    const int count = min(in_.left, row - start) + 1, key = row - first_ + in_.left - count + 1;
    float* weights = weights_ + (row - first_) * (in_.left + 1);
    Score(weights, queries_ + (row - first_) * pitch_, key, count);
    __syncwarp();
    Soften(weights, count);
    __syncwarp();
    for (int i = Lane() * kNumbers; i < in_.dim; i += 32 * kNumbers) {
      Piece<kNumbers> out = {};
      for (int j = 0; j < count; ++j) {
        const auto value = PieceAt<kNumbers>(values_ + (key + j) * pitch_ + i);
        for (int n = 0; n < kNumbers; ++n) out.of[n] += weights[j] * value.of[n];
      }
      StorePiece(y, row, column_ + i, out);
    }
  }

 private:
  static __device__ int Lane() { return threadIdx.x % 32; }

  // `count` rows of the head's columns from row `first` on, of those that there are.
  template <class Scale>
  __device__ void Copy(float* to, const View<const float>& from, int first, int count,
                       const Scale& scale) {
    const int pieces = in_.dim / kNumbers;
#pragma unroll 4
    for (int i = threadIdx.x; i < count * pieces; i += kLocalThreads) {
      const int row = first + i / pieces, c = i % pieces * kNumbers;
      if (row < 0 || row >= from.rows) continue;
      auto piece = PieceAt<kNumbers>(from.Row(row) + column_ + c);
      for (int n = 0; n < kNumbers; ++n) piece.of[n] *= scale(c + n);
      *reinterpret_cast<Piece<kNumbers>*>(to + i / pieces * pitch_ + c) = piece;
    }
  }

  // The capped scores of the keys from `key` on.
  __device__ void Score(float* scores, const float* query, int key, int count) const {
    const int part = Lane() % 8;
    for (int first = 0; first < count; first += 4) {
      const int j = first + Lane() / 8;
      float dot = 0;
      for (int i = part * kNumbers; i < in_.dim && j < count; i += 8 * kNumbers) {
        const auto of_query = PieceAt<kNumbers>(query + i),
                   of_key = PieceAt<kNumbers>(keys_ + (key + j) * pitch_ + i),
                   of_distance = PieceAt<kNumbers>(relative_ + (count - 1 - j) * pitch_ + i);
        for (int n = 0; n < kNumbers; ++n) {
          dot += of_query.of[n] * (of_key.of[n] + of_distance.of[n]);
        }
      }
      for (int lanes = 4; lanes > 0; lanes /= 2) dot += __shfl_xor_sync(~0u, dot, lanes);
      if (part == 0 && j < count) scores[j] = in_.cap * tanhf(dot / in_.cap);
    }
  }

  // Scores become weights.
  __device__ void Soften(float* scores, int count) const {
    float top = -INFINITY, sum = 0;
    for (int j = Lane(); j < count; j += 32) top = fmaxf(top, scores[j]);
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      top = fmaxf(top, __shfl_xor_sync(~0u, top, lanes));
    }
    for (int j = Lane(); j < count; j += 32) {
      scores[j] = expf(scores[j] - top);
      sum += scores[j];
    }
    sum = WarpSum(sum);
    for (int j = Lane(); j < count; j += 32) scores[j] /= sum;
  }

  const LocalInputs& in_;
  const int pitch_, first_, column_;
  float* const queries_;
  float* const keys_;
  float* const values_;
  float* const relative_;
  float* const weights_;  // [kLocalRows, left + 1]
};

template <int kNumbers>
__global__ void __launch_bounds__(kLocalThreads) LocalAttention(Output y, LocalInputs in) {
  LocalBlock<kNumbers> block(in);
  WaitForPrevious();
  block.Load();
  __syncthreads();
  for (int i = threadIdx.x / 32; i < kLocalRows; i += kLocalThreads / 32) {
    const int row = blockIdx.x * kLocalRows + i;
    if (row < in.q.rows) block.Attend(y, row);
  }
}

}  // namespace

cudaError_t LaunchUnfold(cudaStream_t stream, Mat y, Mat x, int channels, int first) {
  const int bins = x.cols / channels;
  const auto launch = [&]<int kNumbers>() {
    return LaunchForEach(stream, y.rows, y.cols / kNumbers,
                         Patches<kNumbers>{OutputOf(y), ViewOf<const float>(x), channels, first,
                                           bins, (bins + 1) / 2});
  };
  return channels % 4 == 0 && HasFours(y) && HasFours(x) ? launch.template operator()<4>()
                                                         : launch.template operator()<1>();
}

cudaError_t LaunchAveragePool(cudaStream_t stream, Mat y, Mat x, int columns, int size) {
  return LaunchForEach(stream, y.rows, y.cols,
                       Means{ViewOf<float>(y), ViewOf<const float>(x), columns, size});
}

cudaError_t LaunchDepthwiseConv(cudaStream_t stream, Mat y, Mat x, const float* kernel, int width,
                                Mat starts) {
  return LaunchForEach(
      stream, x.rows, x.cols,
      Convolve{ViewOf<float>(y), ViewOf<const float>(x), kernel, width, ViewOf<const int>(starts)});
}

cudaError_t LaunchGluConv(cudaStream_t stream, Mat y, Mat x, const float* kernel, int width,
                          const float* gain, float eps, Mat starts) {
  const GluConvInputs in{ViewOf<const float>(x),    kernel, width,
                         ViewOf<const int>(starts), gain,   eps};
  return WithNormThreads(y.cols, [&](auto threads) {
    constexpr int kRows = kGroupsOfBlock<threads>;
    return Launch(stream, dim3((y.rows + kRows - 1) / kRows), dim3(threads * kRows), threads / 8,
                  GluConv<threads>, OutputOf(y), in, y.cols);
  });
}

cudaError_t LaunchLocalAttention(cudaStream_t stream, Mat y, Mat q, Mat k, Mat v, Mat relative,
                                 Mat starts, const LocalScales& scales,
                                 const LocalAttentionSpec& spec) {
  const LocalInputs in{ViewOf<const float>(q),
                       ViewOf<const float>(k),
                       ViewOf<const float>(v),
                       ViewOf<const float>(relative),
                       ViewOf<const int>(starts),
                       scales.q,
                       scales.period,
                       scales.k,
                       q.cols / spec.heads,
                       spec.left,
                       spec.cap};
  const bool fours = in.dim % 4 == 0 && HasFours(y) && HasFours(q) && HasFours(k) && HasFours(v) &&
                     HasFours(relative);
  return Launch(stream, dim3((q.rows + kLocalRows - 1) / kLocalRows, spec.heads),
                dim3(kLocalThreads), sizeof(float) * in.SharedNumbers(),
                fours ? LocalAttention<4> : LocalAttention<1>, OutputOf(y), in);
}

}  // namespace softsplice::cuda
