// How kernels are launched: pure functions of the shapes of their arguments.
#pragma once

namespace softsplice::cuda {

// Threads for one row (or group of columns) of a norm of so many numbers.
int NormThreads(int numbers);

// A block has up to so many neighbours in one row.
inline constexpr int kElementsPerBlock = 1024;
inline constexpr int kMostElementThreads = 256;

struct ElementShape {
  int blocks_per_row;
  int threads;
};
ElementShape ElementShapeOf(int cols);

}  // namespace softsplice::cuda
