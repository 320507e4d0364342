#include "kernels/cpu/matmul/layout.h"

namespace softsplice {

int UnitInputs(Layout layout) {
  if (layout <= Layout::kBF16) return 1;
  return layout == Layout::kNibbleSuper || layout == Layout::kSix ? kSuperBlock : kBlock;
}

UnitBytes BytesOf(Layout layout, int panel) {
  const size_t outs = static_cast<size_t>(panel);
  switch (layout) {
    case Layout::kF32:
      return {0, 4 * outs};
    case Layout::kF16:
    case Layout::kBF16:
      return {0, 2 * outs};
    case Layout::kNibbleCentred:
      return {0, (2 + kBlock / 2) * outs};
    case Layout::kNibbleMin:
      return {0, (4 + kBlock / 2) * outs};
    case Layout::kNibbleSuper:
      return {4 * outs, (2 + kBlock / 2) * outs};
    case Layout::kSix:
      return {2 * outs, (2 + kBlock / 2 + kBlock / 4) * outs};
    case Layout::kByteMin:
      return {0, (8 + kBlock) * outs};
    case Layout::kByteMinHalves:
      return {0, (16 + kBlock) * outs};
    case Layout::kSignedHalf:
      return {0, (2 + kBlock) * outs};
    case Layout::kSignedFloat:
      return {0, (4 + kBlock) * outs};
    case Layout::kCount:
      break;
  }
  return {};
}

}  // namespace softsplice
