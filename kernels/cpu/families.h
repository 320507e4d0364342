// The op families of one instruction set: each puts its kernels into the table.
#pragma once

#include "kernels/cpu/ops.h"

namespace softsplice::SIMD_NAMESPACE {

void FillElementwise(CpuOps& ops);
void FillNorm(CpuOps& ops);
void FillRope(CpuOps& ops);
void FillAttention(CpuOps& ops);
void FillSelfAttention(CpuOps& ops);
void FillLocalAttention(CpuOps& ops);
void FillDepthwiseConv(CpuOps& ops);
const CpuOps& Ops();

}  // namespace softsplice::SIMD_NAMESPACE
