// The arguments of ops that are more than matrices and numbers.
#pragma once

#include <cstdint>

#include "kernels/mat.h"

namespace softsplice {

// What a weight is for; decides how a backend lays it out.
enum class Use : uint8_t {
  kLinear,      // right side of Matmul
  kTable,       // rows are looked up one by one; the mapped file may go on being read, so it must
                // outlive the weight
  kLargeTable,  // such a one, whose rows may stay in the host's memory: BackendOptions say so
  kVector,      // gains and factors, float32
};

// Columns that TopLogits gives, at most.
inline constexpr int kMostTopLogits = 256;

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
  // No sequence has more than one row, which may save work. Rows of one that has more are then
  // worth nothing: so many rows can pad a step.
  bool one_row_each = false;
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

struct LocalAttentionSpec {
  int heads = 0;
  int left = 0;   // rows before a row that it sees
  float cap = 0;  // of the scores
};

// Gains of heads [head_dim], places of patches in their pictures and runs of patches (kI32), and
// the base of both rotations.
struct PatchAttentionSpec {
  const Weight* q_gain = nullptr;
  const Weight* k_gain = nullptr;
  float eps = 0;
  Mat columns, rows, starts;
  int heads = 0;
  float rope_base = 0;
};

}  // namespace softsplice
