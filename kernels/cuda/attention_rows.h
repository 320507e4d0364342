// Which rows a block of attention works on: found on the device, as the host knows neither
// positions nor sequences.
#pragma once

#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/fragments.h"
#include "kernels/cuda/output.h"
#include "kernels/cuda/pages.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {

// Part `part` of what row `row` has to be done.
struct Place {
  int row, part;
};

// Where the index-th part is, if row r has parts(r) of them and rows come one after the other; row
// -1: there are fewer. For a whole warp, whose lanes get the same.
template <class Parts>
__device__ Place FindPart(int index, int rows, Parts parts) {
  const int lane = threadIdx.x % 32;
  for (int first = 0; first < rows; first += 32) {
    const int own = first + lane < rows ? parts(first + lane) : 0;
    int until = own;  // parts of this row and of those before it
    for (int step = 1; step < 32; step *= 2) {
      const int before = __shfl_up_sync(~0u, until, step);
      if (lane >= step) until += before;
    }
    const unsigned past = __ballot_sync(~0u, until > index);
    if (past != 0) {
      const int at = __ffs(past) - 1;
      return {first + at, index - __shfl_sync(~0u, until - own, at)};
    }
    index -= __shfl_sync(~0u, until, 31);
  }
  return {-1, 0};
}

// Keys [first, last] of a row.
struct Seen {
  int first, last;
};

// What both kernels over the cache are given.
struct CacheAttention {
  Output y;
  View<const float> q;
  View<const uint16_t> k, v;  // float16
  View<const int> sequences, positions;
  Pages pages;
  int kv_heads, group, window;

  __device__ Seen SeenBy(int row) const {
    const int last = *positions.Row(row);
    return {window == 0 ? 0 : max(0, last - window + 1), last};
  }
  __device__ bool SameSequence(int row, int other) const {
    return other >= 0 && other < q.rows && *sequences.Row(row) == *sequences.Row(other);
  }
  // Whether its sequence has no other row in this step.
  __device__ bool IsAlone(int row) const {
    const int before = max(row - 1, 0), after = min(row + 1, q.rows - 1);
    const int sequence = *sequences.Row(row);  // all three on their way at once
    const bool like_before = *sequences.Row(before) == sequence && before < row;
    const bool like_after = *sequences.Row(after) == sequence && after > row;
    return !like_before && !like_after;
  }
  // The other ones are cut into tiles: neighbours at neighbouring positions, none of which but the
  // first is a multiple of TileRows().
  __device__ int TileRows() const { return kPromptQueries / group; }
  __device__ bool InTile(int first, int row) const {
    const int begin = *positions.Row(first);
    return SameSequence(first, row) && *positions.Row(row) - begin == row - first &&
           *positions.Row(row) / TileRows() == begin / TileRows();
  }
  __device__ bool StartsTile(int row) const {
    return !IsAlone(row) && (row == 0 || !InTile(row - 1, row));
  }
  // The last position of the tile that begins with row `first`. For a whole warp.
  __device__ int LastOfTile(int first) const {
    int last = *positions.Row(first);
    for (int row = first + threadIdx.x % 32; row < first + TileRows(); row += 32) {
      if (InTile(first, row)) last = max(last, *positions.Row(row));
    }
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      last = max(last, __shfl_xor_sync(~0u, last, lanes));
    }
    return last;
  }
  // The row of the cache where a key lies; -1 where it is not seen.
  __device__ int KeyRow(int sequence, int position, const Seen& seen) const {
    const bool sees = position >= seen.first && position <= seen.last;
    return sees ? pages.RowOf(sequence, position) : -1;
  }
};

inline CacheAttention ViewOf(const AttentionCall& call) {
  return {OutputOf(call.y),
          ViewOf<const float>(call.q),
          ViewOf<const uint16_t>(call.kv.k),
          ViewOf<const uint16_t>(call.kv.v),
          ViewOf<const int>(call.rows.sequences),
          ViewOf<const int>(call.rows.positions),
          PagesOf(call.pages),
          call.spec.kv_heads,
          call.spec.heads / call.spec.kv_heads,
          call.spec.window};
}

// Begins to copy kColumns numbers from `column` on of the rows at `rows` (-1: zeroes) to shared
// memory.
template <int kRows, int kColumns, int kThreads>
__device__ void CopyRows(uint16_t* to, const View<const uint16_t>& from, const int* rows,
                         int column) {
  constexpr int kPieces = kColumns / 8;
#pragma unroll 2
  for (int i = threadIdx.x; i < kRows * kPieces; i += kThreads) {
    const int row = rows[i / kPieces], c = i % kPieces * 8;
    CopyAsync(to + i / kPieces * kPitchOf<kColumns> + c, from.Row(max(row, 0)) + column + c,
              row >= 0);
  }
}

}  // namespace softsplice::cuda
