// This instruction set's matmul kernels.
#include "kernels/cpu/matmul/bodies.h"

namespace softsplice::SIMD_NAMESPACE {

void FillMatmul(CpuOps& ops) {
  ops.matmul = {
      .panel = kPanel,
      .float_rows = kFloatRows,
      .int_rows = kIntRows,
      .stream_rows = kStreamRows,
      .pack_rows = PackRows,
      .quantize_rows = QuantizeRows,
      .panels =
          {
              FloatPanelsF32,
              FloatPanelsF16,
              FloatPanelsBF16,
              NibbleCentredPanels,
              NibbleMinPanels,
              NibbleSuperPanels,
              SixPanels,
              ByteMinPanels,
              ByteMinHalvesPanels,
              SignedHalfPanels,
              SignedFloatPanels,
          },
  };
}

}  // namespace softsplice::SIMD_NAMESPACE
