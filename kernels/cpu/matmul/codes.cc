#include "kernels/cpu/matmul/codes.h"

#include "kernels/cpu/matmul/layout.h"
#include "kernels/quant_decode.h"

namespace softsplice {
namespace {

// Decoding and storing in one loop, so that the codes stay in registers.
template <Layout kLayout, QuantDecoder decode>
void PackPanel(char* dst, int panel, const PanelSource& source) {
  const UnitBytes bytes = BytesOf(kLayout, panel);
  const int unit_blocks = UnitInputs(kLayout) / kBlock;
  const int blocks = source.cols / kBlock;
  for (int first = 0; first < blocks; first += unit_blocks) {
    char* body = dst + bytes.header;
    for (int b = first; b < first + unit_blocks; ++b, body += bytes.block) {
      for (int o = 0; o < source.count; ++o) {
        QuantBlock block;
        decode(source.Row(o), b, &block);
        StoreBlock<kLayout>(dst, body, panel, o, block);
      }
    }
    dst = body;
  }
}

template <Layout kLayout, gguf::Type type>
constexpr QuantType Packed() {
  return {type, kLayout, PackPanel<kLayout, DecoderOf(type)>};
}

constexpr QuantType kTypes[] = {
    Packed<Layout::kNibbleCentred, gguf::Type::kQ4_0>(),
    Packed<Layout::kNibbleMin, gguf::Type::kQ4_1>(),
    Packed<Layout::kByteMin, gguf::Type::kQ5_0>(),
    Packed<Layout::kByteMin, gguf::Type::kQ5_1>(),
    Packed<Layout::kSignedHalf, gguf::Type::kQ8_0>(),
    Packed<Layout::kByteMinHalves, gguf::Type::kQ2_K>(),
    Packed<Layout::kByteMinHalves, gguf::Type::kQ3_K>(),
    Packed<Layout::kNibbleSuper, gguf::Type::kQ4_K>(),
    Packed<Layout::kByteMin, gguf::Type::kQ5_K>(),
    Packed<Layout::kSix, gguf::Type::kQ6_K>(),
    Packed<Layout::kSignedHalf, gguf::Type::kIQ4_NL>(),
    Packed<Layout::kSignedFloat, gguf::Type::kIQ4_XS>(),
};

}  // namespace

const QuantType* FindQuantType(gguf::Type type) {
  for (const QuantType& quant : kTypes) {
    if (quant.type == type) return &quant;
  }
  return nullptr;
}

}  // namespace softsplice
