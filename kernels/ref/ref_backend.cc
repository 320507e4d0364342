#include "kernels/ref/ref_backend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "common/gguf/half.h"
#include "kernels/host_memory.h"
#include "kernels/host_ops.h"

namespace softsplice {
namespace {

// Columns [first, first + count) of a cache's row.
void Read(Mat m, size_t row, int first, int count, std::vector<float>& out) {
  out.resize(static_cast<size_t>(count));
  const Mat at = m.Rows(static_cast<int>(row), 1).Cols(first, count);
  for (int i = 0; i < count; ++i) {
    out[static_cast<size_t>(i)] =
        m.type == DType::kF16 ? HalfToFloat(at.Row<uint16_t>(0)[i]) : at.Row<float>(0)[i];
  }
}

void Write(Mat m, size_t row, int col, float value) {
  const Mat at = m.Rows(static_cast<int>(row), 1);
  if (m.type == DType::kF16) {
    at.Row<uint16_t>(0)[col] = FloatToHalf(value);
  } else {
    at.Row<float>(0)[col] = value;
  }
}

float ApplyGelu(float x, Gelu gelu) {
  if (gelu == Gelu::kQuick) return x / (1.0f + std::exp(-1.702f * x));
  constexpr float kSqrt2OverPi = 0.7978845608028654f;
  return 0.5f * x * (1.0f + std::tanh(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
}

void Softmax(std::vector<float>& x) {
  const float top = *std::max_element(x.begin(), x.end());
  float sum = 0;
  for (float& v : x) sum += v = std::exp(v - top);
  for (float& v : x) v /= sum;
}

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

float Dot(const float* a, const float* b, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

class RefBackend final : public Backend {
 public:
  std::string Name() const override { return "ref"; }

  absl::StatusOr<std::shared_ptr<void>> Allocate(size_t bytes) override {
    return AllocateHost(bytes);
  }

  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override {
    switch (use) {
      case Use::kLinear:
        return PackFloat(tensor);
      case Use::kTable:
      case Use::kLargeTable:
        return PackTable(tensor);
      case Use::kVector:
        return PackVector(tensor);
    }
    return absl::InternalError("no such use of a weight");
  }

  void Upload(Mat dst, const void* host) override {
    CopyMat(dst, {const_cast<void*>(host), dst.rows, dst.cols, dst.cols, dst.type});
  }

  void Download(void* host, Mat src) override {
    CopyMat({host, src.rows, src.cols, src.cols, src.type}, src);
  }

  absl::Status Wait() override { return absl::OkStatus(); }

  void Embed(Mat y, Mat ids, const Weight& table, float scale) override {
    for (int r = 0; r < y.rows; ++r) {
      TableRow(table, Index(ids, r), y.Row<float>(r));
      for (int c = 0; c < y.cols; ++c) y.Row<float>(r)[c] *= scale;
    }
  }

  void AddEmbedding(Mat y, Mat ids, const Weight& table) override {
    std::vector<float> row(static_cast<size_t>(y.cols));
    for (int r = 0; r < y.rows; ++r) {
      TableRow(table, Index(ids, r), row.data());
      for (int c = 0; c < y.cols; ++c) y.Row<float>(r)[c] += row[static_cast<size_t>(c)];
    }
  }

  void GatherRows(Mat y, Mat x, Mat index) override {
    for (int r = 0; r < y.rows; ++r) CopyMat(y.Rows(r, 1), x.Rows(Index(index, r), 1));
  }

  void ScatterRows(Mat y, Mat x, Mat index) override {
    for (int r = 0; r < x.rows; ++r) CopyMat(y.Rows(Index(index, r), 1), x.Rows(r, 1));
  }

  void Matmul(Mat y, Mat x, const Weight& w) override {
    std::vector<float> row(static_cast<size_t>(x.cols));
    for (int r = 0; r < y.rows; ++r) {
      for (int c = 0; c < x.cols; ++c) {
        row[static_cast<size_t>(c)] = std::min(std::max(x.Row<float>(r)[c], w.in_lo), w.in_hi);
      }
      for (int o = 0; o < w.rows; ++o) {
        const float* weights = Floats(w) + static_cast<size_t>(o) * static_cast<size_t>(w.cols);
        const float sum = Dot(row.data(), weights, w.cols);
        y.Row<float>(r)[o] = std::min(std::max(sum, w.out_lo), w.out_hi);
      }
    }
  }

  void RmsNorm(Mat y, Mat x, const Weight* gain, float eps, int group) override {
    if (group == 0) group = x.cols;
    for (int r = 0; r < x.rows; ++r) {
      for (int first = 0; first < x.cols; first += group) {
        const float* from = x.Row<float>(r) + first;
        float* to = y.Row<float>(r) + first;
        const float mean = Dot(from, from, group) / static_cast<float>(group);
        const float factor = 1.0f / std::sqrt(mean + eps);
        for (int i = 0; i < group; ++i) {
          to[i] = from[i] * factor * (gain == nullptr ? 1.0f : Floats(*gain)[i]);
        }
      }
    }
  }

  void Rope(Mat x, Mat positions, const RopeSpec& spec) override {
    const int half = spec.count / 2;
    for (int r = 0; r < x.rows; ++r) {
      for (int i = 0; i < half; ++i) {
        // In float32 as transformers has it: at large positions the rounding of the angle matters.
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(spec.count);
        float frequency = 1.0f / std::pow(spec.base, exponent);
        if (spec.factors != nullptr) frequency /= Floats(*spec.factors)[i];
        const float angle = static_cast<float>(Index(positions, r)) * frequency;
        const float cosine = std::cos(angle);
        const float sine = std::sin(angle);
        for (int first = spec.first; first < x.cols; first += spec.head_dim) {
          float& a = x.Row<float>(r)[first + i];
          float& b = x.Row<float>(r)[first + i + half];
          const float old = a;
          a = old * cosine - b * sine;
          b = b * cosine + old * sine;
        }
      }
    }
  }

  void GeluMul(Mat gate, Mat up, Gelu gelu) override {
    for (int r = 0; r < gate.rows; ++r) {
      for (int c = 0; c < gate.cols; ++c) {
        float& g = gate.Row<float>(r)[c];
        g = ApplyGelu(g, gelu) * up.Row<float>(r)[c];
      }
    }
  }

  void Add(Mat y, Mat x) override {
    for (int r = 0; r < y.rows; ++r) {
      for (int c = 0; c < y.cols; ++c) y.Row<float>(r)[c] += x.Row<float>(r)[c];
    }
  }

  void Scale(Mat x, float factor) override {
    for (int r = 0; r < x.rows; ++r) {
      for (int c = 0; c < x.cols; ++c) x.Row<float>(r)[c] *= factor;
    }
  }

  void Scale(Mat x, const Weight& w) override { Scale(x, Floats(w)[0]); }

  void Softcap(Mat x, float cap) override {
    for (int r = 0; r < x.rows; ++r) {
      for (int c = 0; c < x.cols; ++c) {
        float& v = x.Row<float>(r)[c];
        v = cap * std::tanh(v / cap);
      }
    }
  }

  void TopLogits(Mat ids, Mat values, Mat stats, Mat logits) override {
    std::vector<int32_t> order(static_cast<size_t>(logits.cols));
    for (int r = 0; r < logits.rows; ++r) {
      const float* row = logits.Row<float>(r);
      float* of_row = stats.Row<float>(r);
      if (!std::all_of(row, row + logits.cols, [](float x) { return std::isfinite(x); })) {
        of_row[0] = of_row[1] = std::numeric_limits<float>::quiet_NaN();
        continue;
      }
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return row[a] > row[b]; });
      const double max = row[order[0]];
      double sum = 0;
      for (int c = 0; c < logits.cols; ++c) sum += std::exp(row[c] - max);
      for (int i = 0; i < ids.cols; ++i) {
        ids.Row<int32_t>(r)[i] = order[static_cast<size_t>(i)];
        values.Row<float>(r)[i] = row[order[static_cast<size_t>(i)]];
      }
      of_row[0] = static_cast<float>(max);
      of_row[1] = static_cast<float>(max + std::log(sum));
    }
  }

  void KvAppend(const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                const KvPages& pages) override {
    for (int r = 0; r < k.rows; ++r) {
      const size_t slot = KvRow(pages, Index(rows.sequences, r), Index(rows.positions, r));
      for (int c = 0; c < k.cols; ++c) {
        Write(kv.k, slot, c, k.Row<float>(r)[c]);
        Write(kv.v, slot, c, v.Row<float>(r)[c]);
      }
    }
  }

  void Attention(Mat y, Mat q, const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                 const AttentionSpec& spec) override {
    const int group = spec.heads / spec.kv_heads;
    std::vector<float> cached;
    for (int r = 0; r < q.rows; ++r) {
      const int sequence = Index(rows.sequences, r);
      const int last = Index(rows.positions, r);
      const int first = spec.window == 0 ? 0 : std::max(0, last - spec.window + 1);
      std::vector<float> scores(static_cast<size_t>(last - first + 1));
      for (int h = 0; h < spec.heads; ++h) {
        const float* query = q.Row<float>(r) + h * spec.head_dim;
        const int column = h / group * spec.head_dim;
        for (int p = first; p <= last; ++p) {
          Read(kv.k, KvRow(pages, sequence, p), column, spec.head_dim, cached);
          scores[static_cast<size_t>(p - first)] = Dot(query, cached.data(), spec.head_dim);
        }
        Softmax(scores);
        float* out = y.Row<float>(r) + h * spec.head_dim;
        std::fill(out, out + spec.head_dim, 0.0f);
        for (int p = first; p <= last; ++p) {
          Read(kv.v, KvRow(pages, sequence, p), column, spec.head_dim, cached);
          for (int i = 0; i < spec.head_dim; ++i) {
            out[i] += scores[static_cast<size_t>(p - first)] * cached[static_cast<size_t>(i)];
          }
        }
      }
    }
  }

  void SelfAttention(Mat y, Mat q, Mat k, Mat v, Mat starts, int heads) override {
    const int dim = q.cols / heads;
    for (int run = 0; run + 1 < starts.rows; ++run) {
      const int begin = Index(starts, run);
      const int end = Index(starts, run + 1);
      std::vector<float> scores(static_cast<size_t>(end - begin));
      for (int r = begin; r < end; ++r) {
        for (int column = 0; column < q.cols; column += dim) {
          for (int p = begin; p < end; ++p) {
            scores[static_cast<size_t>(p - begin)] =
                Dot(q.Row<float>(r) + column, k.Row<float>(p) + column, dim);
          }
          Softmax(scores);
          float* out = y.Row<float>(r) + column;
          std::fill(out, out + dim, 0.0f);
          for (int p = begin; p < end; ++p) {
            for (int i = 0; i < dim; ++i) {
              out[i] += scores[static_cast<size_t>(p - begin)] * v.Row<float>(p)[column + i];
            }
          }
        }
      }
    }
  }

  void AveragePool(Mat y, Mat x, int columns, int size) override {
    const int tiles = columns / size;
    for (int r = 0; r < y.rows; ++r) {
      const int corner = r / tiles * size * columns + r % tiles * size;
      for (int c = 0; c < y.cols; ++c) {
        float sum = 0;
        for (int i = 0; i < size * size; ++i) {
          sum += x.Row<float>(corner + i / size * columns + i % size)[c];
        }
        y.Row<float>(r)[c] = sum / static_cast<float>(size * size);
      }
    }
  }

  void Unfold(Mat y, Mat x, int channels, int first) override {
    const int bins = x.cols / channels;
    const int columns = (bins + 1) / 2;
    for (int r = 0; r < y.rows; ++r) {
      float* out = y.Row<float>(r);
      for (int tap = 0; tap < 9; ++tap) {
        const int frame = 2 * (first + r / columns) + tap / 3 - 1;
        const int bin = 2 * (r % columns) + tap % 3 - 1;
        const bool inside = frame >= 0 && frame < x.rows && bin >= 0 && bin < bins;
        for (int c = 0; c < channels; ++c) {
          *out++ = inside ? x.Row<float>(frame)[bin * channels + c] : 0.0f;
        }
      }
    }
  }

  void LayerNorm(Mat y, Mat x, const Weight& gain, float eps) override {
    const float n = static_cast<float>(x.cols);
    for (int r = 0; r < x.rows; ++r) {
      const float* from = x.Row<float>(r);
      float mean = 0;
      for (int c = 0; c < x.cols; ++c) mean += from[c];
      mean /= n;
      float variance = 0;
      for (int c = 0; c < x.cols; ++c) variance += (from[c] - mean) * (from[c] - mean);
      const float factor = 1.0f / std::sqrt(variance / n + eps);
      for (int c = 0; c < x.cols; ++c) {
        y.Row<float>(r)[c] = (from[c] - mean) * factor * Floats(gain)[c];
      }
    }
  }

  void Relu(Mat x) override {
    for (int r = 0; r < x.rows; ++r) {
      for (int c = 0; c < x.cols; ++c) {
        float& v = x.Row<float>(r)[c];
        v = v < 0 ? 0 : v;  // not a number stays what it is
      }
    }
  }

  void Silu(Mat x) override {
    for (int r = 0; r < x.rows; ++r) {
      for (int c = 0; c < x.cols; ++c) x.Row<float>(r)[c] *= Sigmoid(x.Row<float>(r)[c]);
    }
  }

  void Glu(Mat y, Mat x) override {
    for (int r = 0; r < x.rows; ++r) {
      for (int c = 0; c < y.cols; ++c) {
        y.Row<float>(r)[c] = x.Row<float>(r)[c] * Sigmoid(x.Row<float>(r)[y.cols + c]);
      }
    }
  }

  void AddVector(Mat x, const Weight& w) override {
    for (int r = 0; r < x.rows; ++r) {
      for (int c = 0; c < x.cols; ++c) x.Row<float>(r)[c] += Floats(w)[c];
    }
  }

  void MulVector(Mat x, const Weight& w) override {
    for (int r = 0; r < x.rows; ++r) {
      for (int c = 0; c < x.cols; ++c) x.Row<float>(r)[c] *= Floats(w)[c % w.cols];
    }
  }

  void DepthwiseConv(Mat y, Mat x, const Weight& kernel, Mat starts) override {
    const int width = kernel.cols / x.cols;
    for (int run = 0; run + 1 < starts.rows; ++run) {
      for (int r = Index(starts, run); r < Index(starts, run + 1); ++r) {
        for (int c = 0; c < x.cols; ++c) {
          float sum = 0;
          for (int j = 0; j < width; ++j) {
            const int from = r - (width - 1) + j;
            if (from >= Index(starts, run)) {
              sum += Floats(kernel)[c * width + j] * x.Row<float>(from)[c];
            }
          }
          y.Row<float>(r)[c] = sum;
        }
      }
    }
  }

  void LocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                      const LocalAttentionSpec& spec) override {
    const int dim = q.cols / spec.heads;
    for (int run = 0; run + 1 < starts.rows; ++run) {
      for (int r = Index(starts, run); r < Index(starts, run + 1); ++r) {
        const int first = std::max(Index(starts, run), r - spec.left);
        std::vector<float> scores(static_cast<size_t>(r - first + 1));
        for (int column = 0; column < q.cols; column += dim) {
          const float* query = q.Row<float>(r) + column;
          for (int p = first; p <= r; ++p) {
            const float score = Dot(query, k.Row<float>(p) + column, dim) +
                                Dot(query, relative.Row<float>(r - p) + column, dim);
            scores[static_cast<size_t>(p - first)] = spec.cap * std::tanh(score / spec.cap);
          }
          Softmax(scores);
          for (int i = column; i < column + dim; ++i) {
            float sum = 0;
            for (int p = first; p <= r; ++p) {
              sum += scores[static_cast<size_t>(p - first)] * v.Row<float>(p)[i];
            }
            y.Row<float>(r)[i] = sum;
          }
        }
      }
    }
  }
};

}  // namespace

std::unique_ptr<Backend> MakeRefBackend() { return std::make_unique<RefBackend>(); }

}  // namespace softsplice
