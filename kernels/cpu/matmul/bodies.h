// The kernels of this instruction set that table.cc gathers.
#pragma once

#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace softsplice::SIMD_NAMESPACE {

// Rows per tile, with 2 vectors of sums each: enough sums to hide the latency of a multiply-add,
// and no more than the registers hold.
constexpr int kFloatRows = SIMD_LANES == 16 ? 8 : SIMD_LANES == 8 ? 6 : 4;
constexpr int kIntRows = 4;
// Up to so many rows, expanding a panel of quantised weights does not pay.
constexpr int kStreamRows = 8 * kIntRows;

void PackRows(float* dst, const float* x, ptrdiff_t pitch, int rows, int cols, float lo, float hi);
void FloatPanelsF32(const PanelCall& call);
void FloatPanelsF16(const PanelCall& call);
void FloatPanelsBF16(const PanelCall& call);

void QuantizeRows(ActBlock* dst, const float* x, ptrdiff_t pitch, int rows, int cols, float lo,
                  float hi);
void NibbleCentredPanels(const PanelCall& call);
void NibbleMinPanels(const PanelCall& call);
void NibbleSuperPanels(const PanelCall& call);
void SixPanels(const PanelCall& call);
void ByteMinPanels(const PanelCall& call);
void ByteMinHalvesPanels(const PanelCall& call);
void SignedHalfPanels(const PanelCall& call);
void SignedFloatPanels(const PanelCall& call);

}  // namespace softsplice::SIMD_NAMESPACE
