// The whole vocabulary of every forward pass. No device API, no gRPC and no model name appears
// here: a model is written once over this interface, and a backend (kernels/ref, kernels/cpu, a
// CUDA one) makes it run.
//
// One Backend is one device, one stream and one calling thread. Ops enqueue: they never read back
// and never fail; buffers inside a backend only grow to the largest shape seen. Wait() drains and
// returns the first error. Outputs come first in every signature; unless an op says so, output and
// inputs must not overlap.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "kernels/mat.h"

namespace softsplice {

// What a weight is for; decides how a backend lays it out.
enum class Use : uint8_t {
  kLinear,  // right side of Matmul
  kTable,   // rows are looked up one by one; the mapped file may go on being read, so it must
            // outlive the weight
  kVector,  // gains and factors, float32
};

enum class Gelu : uint8_t {
  kTanh,   // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): the models' own
  kQuick,  // x sigmoid(1.702 x): llama.cpp's, for cross-checks
};

// Rotary embedding of dims [first, first + count) of every head; pairs are (i, i + count/2), angle
// position * base^(-2i/count) / factors[i].
struct RopeSpec {
  int head_dim = 0;
  int first = 0;
  int count = 0;
  float base = 10000;
  const Weight* factors = nullptr;  // [count/2] divisors, or null
};

// Which sequence and position each row of a ragged batch has: two kI32 vectors as long as the
// batch. Rows of one sequence are consecutive and in order of position.
struct RowMap {
  Mat sequences;
  Mat positions;
};

// Where the positions of each sequence lie in the caches of one kind of layer: position p of
// sequence s is row table[s][(p / block_rows) % blocks[s]] * block_rows + p % block_rows. A full
// layer's table never wraps; a sliding layer's is a ring that holds at least window + (rows of the
// sequence in one step) - 1 positions.
struct KvPages {
  Mat table;   // kI32 [sequences, most blocks]
  Mat blocks;  // kI32 [sequences]: entries of the table's row that are in use
  int block_rows = 0;
};

// Keys and values of one layer: [blocks * block_rows, kv_heads * head_dim], kF16 or kF32.
struct KvLayer {
  Mat k;
  Mat v;
};

struct AttentionSpec {
  int heads = 0;
  int kv_heads = 0;  // query head h reads head h / (heads / kv_heads)
  int head_dim = 0;
  int window = 0;  // a row sees itself and the window - 1 positions before it; 0: all before it
};

class Backend {
 public:
  virtual ~Backend() = default;

  // For people: "cpu avx2 2 threads".
  virtual std::string Name() const = 0;

  // Load time. RESOURCE_EXHAUSTED when memory is short.
  virtual absl::StatusOr<std::shared_ptr<void>> Allocate(
      size_t bytes) = 0;  // zeroed, 256-byte aligned
  virtual absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) = 0;

  // Step boundary. Host memory is dense (pitch == cols) and of the matrix's type.
  virtual void Upload(Mat dst, const void* host) = 0;
  virtual void Download(void* host, Mat src) = 0;
  virtual absl::Status Wait() = 0;

  // y[i] = scale * table[ids[i]].
  virtual void Embed(Mat y, Mat ids, const Weight& table, float scale) = 0;
  // y[i] += table[ids[i]].
  virtual void AddEmbedding(Mat y, Mat ids, const Weight& table) = 0;
  // y[i] = x[index[i]].
  virtual void GatherRows(Mat y, Mat x, Mat index) = 0;
  // y[index[i]] = x[i]; no index appears twice.
  virtual void ScatterRows(Mat y, Mat x, Mat index) = 0;

  // y = clamp(clamp(x) W^T): x [rows, W.cols], y [rows, W.rows]. The sums of one row are in the
  // same order whatever the number of rows.
  virtual void Matmul(Mat y, Mat x, const Weight& w) = 0;
  // y = x / sqrt(mean(x^2) + eps) * gain over each `group` columns (0: the whole row); gain may be
  // null. y may be x.
  virtual void RmsNorm(Mat y, Mat x, const Weight* gain, float eps, int group = 0) = 0;
  // In place.
  virtual void Rope(Mat x, Mat positions, const RopeSpec& spec) = 0;
  // gate = gelu(gate) * up.
  virtual void GeluMul(Mat gate, Mat up, Gelu gelu) = 0;
  // y += x.
  virtual void Add(Mat y, Mat x) = 0;
  // x *= factor; x *= w (a vector of one).
  virtual void Scale(Mat x, float factor) = 0;
  virtual void Scale(Mat x, const Weight& w) = 0;
  // x = cap * tanh(x / cap).
  virtual void Softcap(Mat x, float cap) = 0;

  // Stores k and v [rows, kv_heads * head_dim] at the rows' positions.
  virtual void KvAppend(const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                        const KvPages& pages) = 0;
  // Causal attention of q [rows, heads * head_dim] over the cache, softmax(q k^T) v, scale 1. The
  // rows' own keys are already appended.
  virtual void Attention(Mat y, Mat q, const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                         const AttentionSpec& spec) = 0;

  // Attention without a cache and without a mask, scale 1, inside each run of rows [starts[i],
  // starts[i + 1]). y, q, k, v: [rows, heads * head_dim]; starts: kI32 [runs + 1].
  virtual void SelfAttention(Mat y, Mat q, Mat k, Mat v, Mat starts, int heads) = 0;
  // Means of size x size tiles of a picture: x's rows are a grid of `columns` in reading order,
  // both sides multiples of `size`; y's rows are the smaller grid. Sums in float32.
  virtual void AveragePool(Mat y, Mat x, int columns, int size) = 0;

  // Fusions: this body is the definition, an override may only be faster. `h` and `tmp` are
  // overwritten. x += norm(h) * gain.
  virtual void AddNorm(Mat x, Mat h, const Weight& gain, float eps) {
    RmsNorm(h, h, &gain, eps);
    Add(x, h);
  }
  // y = gelu(x gate^T) * (x up^T).
  virtual void GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up, Gelu gelu) {
    Matmul(y, x, gate);
    Matmul(tmp, x, up);
    GeluMul(y, tmp, gelu);
  }
};

}  // namespace softsplice
