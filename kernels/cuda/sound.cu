// See sound.h. Each kernel reads its inputs from the cache as often as they are used, and writes
// its output once.
#include "kernels/cuda/for_each.h"
#include "kernels/cuda/output.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/sound.h"

namespace softsplice::cuda {
namespace {

struct Patches {
  Output y;
  View<const float> x;
  int channels, first, bins, columns;

  __device__ void operator()(int r, int c) const {
    const int tap = c / channels;
    const int frame = 2 * (first + r / columns) + tap / 3 - 1;
    const int bin = 2 * (r % columns) + tap % 3 - 1;
    const bool inside = frame >= 0 && frame < x.rows && bin >= 0 && bin < bins;
    y.Store(r, c, inside ? x.Row(frame)[bin * channels + c % channels] : 0);
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

struct LocalInputs {
  View<const float> q, k, v, relative;
  View<const int> starts;
};

// A block is a warp: one row and one head. Shared: left + 1 numbers.
__global__ void __launch_bounds__(32)
    LocalAttention(Output y, LocalInputs in, int dim, int left, float cap) {
  float* scores = &Shared<float>();
  WaitForPrevious();
  const int r = blockIdx.x, column = blockIdx.y * dim, lane = threadIdx.x;
  const int start = RunStart(in.starts, r);
  if (start < 0) return;
  const int first = max(start, r - left), count = r - first + 1;
  const float* query = in.q.Row(r) + column;
  float top = -INFINITY;
  for (int p = first; p <= r; ++p) {
    const float* key = in.k.Row(p) + column;
    const float* distance = in.relative.Row(r - p) + column;
    float dot = 0, relative_dot = 0;
    for (int i = lane; i < dim; i += 32) {
      dot += query[i] * key[i];
      relative_dot += query[i] * distance[i];
    }
    const float score = cap * tanhf((WarpSum(dot) + WarpSum(relative_dot)) / cap);
    if (lane == 0) scores[p - first] = score;
    top = fmaxf(top, score);
  }
  __syncwarp();
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += expf(scores[i] - top);
  for (int i = lane; i < dim; i += 32) {
    float out = 0;
    for (int j = 0; j < count; ++j) {
      out += expf(scores[j] - top) / sum * in.v.Row(first + j)[column + i];
    }
    y.Store(r, column + i, out);
  }
}

}  // namespace

cudaError_t LaunchUnfold(cudaStream_t stream, Mat y, Mat x, int channels, int first) {
  const int bins = x.cols / channels;
  return LaunchForEach(
      stream, y.rows, y.cols,
      Patches{OutputOf(y), ViewOf<const float>(x), channels, first, bins, (bins + 1) / 2});
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

cudaError_t LaunchLocalAttention(cudaStream_t stream, Mat y, Mat q, Mat k, Mat v, Mat relative,
                                 Mat starts, const LocalAttentionSpec& spec) {
  const LocalInputs in{ViewOf<const float>(q), ViewOf<const float>(k), ViewOf<const float>(v),
                       ViewOf<const float>(relative), ViewOf<const int>(starts)};
  return Launch(stream, dim3(q.rows, spec.heads), dim3(32), sizeof(float) * (spec.left + 1),
                LocalAttention, OutputOf(y), in, q.cols / spec.heads, spec.left, spec.cap);
}

}  // namespace softsplice::cuda
