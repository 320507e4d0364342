// The table of kernels of one instruction set. Compiled once per instruction set.
#include "kernels/cpu/ops.h"

namespace softsplice::SIMD_NAMESPACE {

const CpuOps& Ops() {
  static const CpuOps kOps = [] {
    CpuOps ops = {};
    ops.lanes = SIMD_LANES;
    FillMatmul(ops);
    FillElementwise(ops);
    FillNorm(ops);
    FillRope(ops);
    FillAttention(ops);
    FillSelfAttention(ops);
    FillLocalAttention(ops);
    FillDepthwiseConv(ops);
    return ops;
  }();
  return kOps;
}

}  // namespace softsplice::SIMD_NAMESPACE
