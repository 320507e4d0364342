// How attention is cut and launched: pure functions of shapes.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/shapes.h"

namespace softsplice::cuda {

// Keys are cut at multiples of so many positions: what is summed from zero before it is added to
// the rest of a row (softmax.h).
inline constexpr int kSlidingSplit = 64;
inline constexpr int kFullSplit = 256;

// Query heads of a KV head, at most: each is a column of the tensor core's second operand.
inline constexpr int kMostGroup = 8;
// Queries that share what a block of prompt attention reads: rows times the heads of a group.
inline constexpr int kPromptQueries = 64;
// Queries of a block of self attention.
inline constexpr int kSelfQueries = 128;

// Whether there is a kernel on tensor cores, also for addresses and strides as they are.
bool OnTensorCores(const AttentionCall& call);
bool OnTensorCores(const SelfAttentionCall& call);

// function<head_dim, split>() with those of `spec`, which has kernels: the models' shapes.
template <class F>
auto WithHead(const AttentionSpec& spec, F function) {
  if (spec.window == 0) {
    if (spec.head_dim == 64) return function.template operator()<64, kFullSplit>();
    return function.template operator()<512, kFullSplit>();
  }
  if (spec.head_dim == 32) return function.template operator()<32, kSlidingSplit>();
  if (spec.head_dim == 64) return function.template operator()<64, kSlidingSplit>();
  return function.template operator()<256, kSlidingSplit>();
}

// A split's unfinished result of one query head is head_dim numbers, their maximum, their sum, and
// what aligns the next one to 16 bytes.
inline constexpr int kPartialStats = 4;

// (row, KV head, split) of decode rows, at most: only the device knows the lengths.
int MostDecodeItems(const AttentionCall& call);
// Blocks that take these items in turn.
int DecodeBlocks(const AttentionCall& call, int multiprocessors);
// Blocks of a KV head that take the tiles of prompt rows in turn: one each, at least, where the
// rows of a sequence are at neighbouring positions.
int PromptBlocks(const AttentionCall& call);
// Tiles of queries of self attention, at most.
int MostSelfTiles(const SelfAttentionCall& call);

}  // namespace softsplice::cuda
