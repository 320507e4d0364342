// The language of kernels/cuda/device.h on the CPU, for tests: each thread of a block is a fiber,
// and blocks and threads run in an order shuffled by a seed. Blocks are whole warps, masks are
// full, and the only shared memory is Shared(), which is as large as the launch says and starts as
// NaN. One block runs after another: none may wait for another one.
//
// Under AddressSanitizer, reads past memory of any kind are found; under ThreadSanitizer, races
// between threads of one block and of two that follow each other.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <compare>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

#include "common/gguf/half.h"
#include "tests/kernels/emulated/cuda_runtime.h"

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

// Of the next kernel's order; grows with each. Every value must give the same results.
inline std::atomic<unsigned> seed = 1;

// Whether the program was built with ThreadSanitizer.
bool FindsRaces();

// A place in a kernel's source where threads meet.
struct Barrier {
  std::string_view file;
  unsigned line = 0;
  auto operator<=>(const Barrier&) const = default;
};
// Those that kernels came to since a test cleared it, and the one that they go through without
// waiting, if any.
inline std::set<Barrier> barriers;
inline Barrier removed;

// Runs a kernel; `function` is for its name in reports.
void RunGrid(dim3 blocks, dim3 threads, size_t shared, const void* function,
             const std::function<void()>& body);

// What a thread asks of its block and its warp.
void* SharedMemory();
int Lane();
void SyncBlock(const char* file, unsigned line);
void SyncWarp(const char* file, unsigned line);
void WaitForPrevious();
// Waits until each lane of the warp has come with `bytes` (64 at most) at `value`; lane i's are at
// i * bytes of the result, until the next call but one.
const void* Exchange(const void* value, size_t bytes);
template <class T>
const T* Exchange(const T& value) {
  static_assert(sizeof(T) <= 64);
  return static_cast<const T*>(Exchange(&value, sizeof(T)));
}

// The thread's asynchronous copies: begun, closed as a group, done when all but the newest `groups`
// groups must be.
struct Copy {
  void* to;
  const void* from;  // null: zeroes
  size_t bytes;
};
void BeginCopy(Copy copy);
void CommitCopies();
bool NextCopy(int groups, Copy& copy);

// The same of products of a warpgroup (warpgroup.h): until one is done its operands stay where they
// are.
struct Product {
  float (*d)[4];
  int tiles;
  const uint32_t* a;
  const void* rows;
  int step;
  bool adds;
};
void BeginProduct(Product product);
void CommitProducts();
bool NextProduct(int groups, Product& product);

// Ends the test program, naming the kernel, when `holds` is false.
void Require(bool holds, const char* rule);
inline void RequireAligned(const void* p, size_t to = 16) {
  Require(reinterpret_cast<uintptr_t>(p) % to == 0, "an address is not a multiple of its size");
}

template <class T>
const T* ExchangeAll(unsigned mask, const T& value) {
  Require(mask == ~0u, "a mask is not of the whole warp");
  return Exchange(value);
}

// d += a b as in device.h; `to_float` reads 16 bits of an input.
template <class ToFloat>
void MultiplyTiles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                   ToFloat to_float) {
  struct Fragments {
    float a[8], b[4];
  } mine;
  for (int i = 0; i < 8; ++i) mine.a[i] = to_float(static_cast<uint16_t>(a[i / 2] >> i % 2 * 16));
  for (int i = 0; i < 4; ++i) mine.b[i] = to_float(static_cast<uint16_t>(b[i / 2] >> i % 2 * 16));
  const Fragments* of = Exchange(mine);
  const Fragments* row = of + Lane() / 4 * 4;  // the four lanes that hold it
  const Fragments* cols = of + Lane() % 4 * 8;
  float sums[4];
  std::memcpy(sums, d, sizeof(sums));
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    for (int i = 0; i < 4; ++i) {
      sums[i] += row[k % 8 / 2].a[i / 2 * 2 + k / 8 * 4 + k % 2] *
                 cols[i % 2 * 4 + k % 8 / 2].b[k / 8 * 2 + k % 2];
    }
  }
  std::memcpy(d, sums, sizeof(sums));
}

}  // namespace emulation

// CUDA's own, which kernels call by CUDA's names.
using std::max;
using std::min;
inline void __syncthreads(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
  emulation::SyncBlock(file, line);
}
inline void __syncwarp(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
  emulation::SyncWarp(file, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return emulation::ExchangeAll(mask, value)[lane % 32];
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return emulation::ExchangeAll(mask, value)[emulation::Lane() ^ lanes];
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes) {
  const int from = emulation::Lane() - static_cast<int>(lanes);
  return emulation::ExchangeAll(mask, value)[from < 0 ? emulation::Lane() : from];
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes) {
  const int from = emulation::Lane() + static_cast<int>(lanes);
  return emulation::ExchangeAll(mask, value)[from > 31 ? emulation::Lane() : from];
}
inline unsigned __ballot_sync(unsigned mask, int vote) {
  const int* votes = emulation::ExchangeAll(mask, vote);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<unsigned>(votes[i] != 0) << i;
  return bits;
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value) {
  const unsigned* of = emulation::ExchangeAll(mask, value);
  return std::accumulate(of, of + 32, 0u);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  const unsigned* of = emulation::ExchangeAll(mask, value);
  return *std::max_element(of, of + 32);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  const unsigned* of = emulation::ExchangeAll(mask, value);
  return *std::min_element(of, of + 32);
}
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) == ~0u; }
inline unsigned atomicAdd(unsigned* p, unsigned value) {
  return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T value) {
  *p = value;
}
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline void sincospif(float x, float* sine, float* cosine) {
  constexpr double kPi = 3.14159265358979323846;
  *sine = static_cast<float>(std::sin(kPi * x));
  *cosine = static_cast<float>(std::cos(kPi * x));
}
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const uint64_t bytes = uint64_t{high} << 32 | low;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    result |= static_cast<unsigned>(bytes >> (selector >> 4 * i & 7) * 8 & 255) << 8 * i;
  }
  return result;
}

// The rest of device.h, which says what these do.
namespace softsplice::cuda {

template <class... P, class... A>
cudaError_t Launch(cudaStream_t stream, dim3 blocks, dim3 threads, size_t shared,
                   void (*kernel)(P...), A... args) {
  if (blocks.x == 0) return cudaSuccess;
  return emulation::Enqueue(stream, blocks, threads, shared, reinterpret_cast<const void*>(kernel),
                            [=] { kernel(static_cast<P>(args)...); });
}
inline void WaitForPrevious() { emulation::WaitForPrevious(); }
template <class T>
T& Shared() {
  return *static_cast<T*>(emulation::SharedMemory());
}
inline void Mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::MultiplyTiles(d, a, b, [](uint16_t x) { return softsplice::BF16ToFloat(x); });
}
inline void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::MultiplyTiles(d, a, b, [](uint16_t x) { return softsplice::HalfToFloat(x); });
}
template <int N>
void LoadMatrix(uint32_t (&d)[N], const void* row) {
  emulation::RequireAligned(row);
  const void* const* rows = emulation::Exchange(row);
  for (int i = 0; i < N; ++i) {
    std::memcpy(
        &d[i],
        static_cast<const uint32_t*>(rows[8 * i + emulation::Lane() / 4]) + emulation::Lane() % 4,
        4);
  }
}
template <int N>
void LoadMatrixTransposed(uint32_t (&d)[N], const void* row) {
  emulation::RequireAligned(row);
  const void* const* rows = emulation::Exchange(row);
  for (int i = 0; i < N; ++i) {
    uint16_t pair[2];
    for (int j = 0; j < 2; ++j) {
      pair[j] = static_cast<const uint16_t*>(
          rows[8 * i + emulation::Lane() % 4 * 2 + j])[emulation::Lane() / 4];
    }
    d[i] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
  }
}
inline unsigned CountUp(unsigned* counter) {
  return __atomic_fetch_add(counter, 1u, __ATOMIC_ACQ_REL);
}
inline void PrefetchL2(const void* from, uint32_t bytes) {
  emulation::RequireAligned(from);
  emulation::Require(bytes % 16 == 0, "a prefetch is not a multiple of 16");
}
template <int kBytes = 16>
void CopyAsync(void* to, const void* from, bool live = true) {
  emulation::RequireAligned(to, kBytes);
  if (live) emulation::RequireAligned(from, kBytes);
  std::memset(to, 0xff, kBytes);  // until it is waited for
  emulation::BeginCopy({to, live ? from : nullptr, kBytes});
}
inline void CommitCopies() { emulation::CommitCopies(); }
// Word by word: a race detector that passes over other people's libraries sees no memcpy.
template <int N>
void WaitForCopies() {
  using Word [[gnu::may_alias]] = volatile uint32_t;
  for (emulation::Copy copy; emulation::NextCopy(N, copy);) {
    for (size_t i = 0; i < copy.bytes / sizeof(Word); ++i) {
      static_cast<Word*>(copy.to)[i] =
          copy.from == nullptr ? 0 : static_cast<const Word*>(copy.from)[i];
    }
  }
}
inline float HalfToFloat(uint16_t bits) { return softsplice::HalfToFloat(bits); }
inline uint16_t FloatToHalf(float x) { return softsplice::FloatToHalf(x); }
inline float Exp2(float x) { return x < -126 ? 0 : std::exp2(x); }
inline uint32_t PackHalf(float first, float second) {
  return FloatToHalf(first) | static_cast<uint32_t>(FloatToHalf(second)) << 16;
}
inline uint32_t PackBFloat16(float first, float second) {
  return FloatToBF16(first) | static_cast<uint32_t>(FloatToBF16(second)) << 16;
}
inline uint32_t MaskedOr(uint32_t a, uint32_t mask, uint32_t bits) { return (a & mask) | bits; }
inline uint32_t SubtractBFloat16(uint32_t a, uint32_t b) {
  return PackBFloat16(__uint_as_float(a << 16) - __uint_as_float(b << 16),
                      __uint_as_float(a & 0xffff0000) - __uint_as_float(b & 0xffff0000));
}

}  // namespace softsplice::cuda

#include "tests/kernels/emulated/warpgroup.h"
