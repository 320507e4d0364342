// How each kernel is launched: pure functions of the shapes of its arguments.
#pragma once

namespace softsplice::cuda {

// Threads for one row (or group of columns) of a norm: so many numbers.
int NormThreads(int numbers);

}  // namespace softsplice::cuda
