// Elementwise ops, conversion to half and pooling: memory bound, one read and one write per number.
// The last lanes of a row go through the same vector code as the others, so that a number's result
// does not depend on where it stands. Compiled once per instruction set.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

// x = f(x), y = f(y, x) and y = f(a, b) over a row.
template <class F>
SIMD_INLINE void MapRow(float* x, int n, F f) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, f(Load(x + i)));
  if (i < n) StorePart(x + i, f(LoadPart(x + i, n - i)), n - i);
}
template <class F>
SIMD_INLINE void MapRow(float* y, const float* x, int n, F f) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, f(Load(y + i), Load(x + i)));
  if (i < n) StorePart(y + i, f(LoadPart(y + i, n - i), LoadPart(x + i, n - i)), n - i);
}
template <class F>
SIMD_INLINE void MapRow(float* y, const float* a, const float* b, int n, F f) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, f(Load(a + i), Load(b + i)));
  if (i < n) StorePart(y + i, f(LoadPart(a + i, n - i), LoadPart(b + i, n - i)), n - i);
}

void Add(Mat y, Mat x) {
  for (int r = 0; r < y.rows; ++r) {
    MapRow(RowOf(y, r), RowOf(x, r), y.cols, [](vf a, vf b) { return a + b; });
  }
}

void Scale(Mat x, float factor) {
  for (int r = 0; r < x.rows; ++r) {
    MapRow(RowOf(x, r), x.cols, [factor](vf a) { return a * factor; });
  }
}

void Softcap(Mat x, float cap) {
  for (int r = 0; r < x.rows; ++r) {
    MapRow(RowOf(x, r), x.cols, [cap](vf a) { return cap * Tanh(a / cap); });
  }
}

// x/2 (1 + tanh(u)) = x sigmoid(2u).
SIMD_INLINE vf GeluTanh(vf x) {
  constexpr float kTwiceSqrt2OverPi = 1.5957691216057308f;
  return x * Sigmoid(kTwiceSqrt2OverPi * Fma(x * x * x, Set(0.044715f), x));
}

void GeluMul(Mat gate, Mat up, bool quick) {
  for (int r = 0; r < gate.rows; ++r) {
    if (quick) {
      MapRow(RowOf(gate, r), RowOf(up, r), gate.cols,
             [](vf g, vf u) { return g * Sigmoid(1.702f * g) * u; });
    } else {
      MapRow(RowOf(gate, r), RowOf(up, r), gate.cols, [](vf g, vf u) { return GeluTanh(g) * u; });
    }
  }
}

void Relu(Mat x) {
  for (int r = 0; r < x.rows; ++r) {
    // In this order Max keeps what is not a number.
    MapRow(RowOf(x, r), x.cols, [](vf a) { return Max(vf{}, a); });
  }
}

void Silu(Mat x) {
  for (int r = 0; r < x.rows; ++r) {
    MapRow(RowOf(x, r), x.cols, [](vf a) { return a * Sigmoid(a); });
  }
}

void Glu(Mat y, Mat x) {
  for (int r = 0; r < y.rows; ++r) {
    MapRow(RowOf(y, r), RowOf(x, r), RowOf(x, r) + y.cols, y.cols,
           [](vf a, vf b) { return a * Sigmoid(b); });
  }
}

void AddVector(Mat x, const float* w) {
  for (int r = 0; r < x.rows; ++r) {
    MapRow(RowOf(x, r), w, x.cols, [](vf a, vf b) { return a + b; });
  }
}

void MulVector(Mat x, const float* w, int n) {
  for (int r = 0; r < x.rows; ++r) {
    for (int c = 0; c < x.cols; c += n) {
      MapRow(RowOf(x, r) + c, w, n, [](vf a, vf b) { return a * b; });
    }
  }
}

void ToHalf(uint16_t* y, const float* x, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, Load(x + i));
  if (i == n) return;
  uint16_t last[kLanes];
  Store(last, LoadPart(x + i, n - i));
  __builtin_memcpy(y + i, last, static_cast<unsigned>(n - i) * sizeof(uint16_t));
}

void AveragePool(Mat y, Mat x, int first, int rows, int columns, int size) {
  const int tiles = columns / size;
  for (int r = first; r < first + rows; ++r) {
    float* out = RowOf(y, r);
    const int corner = r / tiles * size * columns + r % tiles * size;
    __builtin_memcpy(out, RowOf(x, corner), static_cast<unsigned>(y.cols) * sizeof(float));
    for (int i = 1; i < size * size; ++i) {
      MapRow(out, RowOf(x, corner + i / size * columns + i % size), y.cols,
             [](vf a, vf b) { return a + b; });
    }
    const float area = static_cast<float>(size * size);
    MapRow(out, y.cols, [area](vf a) { return a / area; });
  }
}

}  // namespace

void FillElementwise(CpuOps& ops) {
  ops.add = Add;
  ops.scale = Scale;
  ops.softcap = Softcap;
  ops.gelu_mul = GeluMul;
  ops.relu = Relu;
  ops.silu = Silu;
  ops.glu = Glu;
  ops.add_vector = AddVector;
  ops.mul_vector = MulVector;
  ops.to_half = ToHalf;
  ops.average_pool = AveragePool;
}

}  // namespace softsplice::SIMD_NAMESPACE
