// See pack.h.
#include "kernels/cuda/pack.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/gguf/half.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "kernels/quant_decode.h"

namespace softsplice::cuda {
namespace {

using gguf::Type;

Format FormatOf(Type type) {
  switch (type) {
    case Type::kF32:
      return Format::kF32;
    case Type::kF16:
      return Format::kF16;
    case Type::kBF16:
      return Format::kBF16;
    case Type::kQ4_0:
      return Format::kQ4_0;
    case Type::kQ4_1:
    case Type::kQ5_1:
      return Format::kQ5_1;
    case Type::kQ5_0:
    case Type::kQ8_0:
    case Type::kIQ4_NL:
      return Format::kQ8_0;
    case Type::kQ2_K:
      return Format::kQ2_K;
    case Type::kQ4_K:
      return Format::kQ4_K;
    case Type::kQ5_K:
      return Format::kQ5_K;
    case Type::kQ3_K:
    case Type::kQ6_K:
      return Format::kQ6_K;
    case Type::kIQ4_XS:
      return Format::kIQ4_XS;
  }
  return {};
}

// Writes what row `row` of a strip has. Bytes are zero before.
class RowWriter {
 public:
  RowWriter(uint8_t* strip, const Tiles& tiles, int row)
      : strip_(strip),
        supers_(strip + tiles.TilesBytes()),
        spec_(SpecOf(tiles.format)),
        row_(row) {}

  // Number `col` as the bits of a float type.
  void PutFloat(int col, uint32_t bits) {
    const Place at = PlaceOf(col);
    if (spec_.codes == Codes::kFloat32) {
      Or(WordOf(at, 2 * at.r + at.second), bits);
    } else {
      Or(WordOf(at, 4 * at.step + at.r), bits << 16 * at.second);
    }
  }

  void PutCode(int col, uint32_t code) {
    const Place at = PlaceOf(col);
    if (spec_.codes == Codes::kSigned8) {
      Or(WordOf(at, 2 * at.step + at.r / 2), code << (8 * (at.r % 2) + 16 * at.second));
      return;
    }
    if (spec_.codes == Codes::kFourBits) {
      Or(WordOf(at, at.step), code << (4 * at.r + 16 * at.second));
      return;
    }
    const int first = at.step / 2 * 3, bit = 16 * at.second;
    if (at.step % 2 == 0 || at.r < 2) {
      Or(WordOf(at, first + at.step % 2 * 2 + at.r / 2), code << (6 * (at.r % 2) + bit));
    } else {
      Or(WordOf(at, first + at.r - 2), (code & 15) << (12 + bit));
      Or(WordOf(at, first + 2), code >> 4 << (2 * at.r + 8 + bit));
    }
  }

  // Scales and minimums of 32 inputs from `col` on.
  void PutScales(int col, const QuantBlock& block) {
    uint8_t* scales = TileAt(col) + spec_.CodeWords() * 128 + row_ % 8 * spec_.ScaleWords() * 4;
    const int group = col % kChunk / kBlock, half = row_ / 8;
    const auto put_half = [&](int word, float value) {
      const uint16_t bits = FloatToHalf(value);
      std::memcpy(scales + 4 * word + 2 * half, &bits, sizeof(bits));
    };
    if (!spec_.HasSuper()) {
      put_half(group, block.d * static_cast<float>(block.scale[0]));
      if (spec_.HasMin()) put_half(2 + group, block.dmin * static_cast<float>(block.min[0]));
      return;
    }
    uint8_t* bytes = scales + 4 * half;
    if (spec_.scales == Scales::kSixBitsAndMin) {
      bytes[group] = static_cast<uint8_t>(block.scale[0]);
      bytes[2 + group] = static_cast<uint8_t>(block.min[0]);
    } else {
      for (int i = 0; i < 2; ++i) {
        bytes[2 * group + i] = static_cast<uint8_t>(spec_.scales == Scales::kSigned8
                                                        ? block.scale[i] + 128
                                                        : block.scale[i] | block.min[i] << 4);
      }
    }
    const uint16_t super[2] = {FloatToHalf(block.d), FloatToHalf(block.dmin)};
    const size_t at = static_cast<size_t>(col / kSuperColumns) * kSuperBytes;
    std::memcpy(supers_ + at + static_cast<size_t>(row_ % 8 * 8 + half * 4), super, sizeof(super));
  }

 private:
  // Where a number is: in which step of 16 inputs of which tile, lane, register and half of it.
  struct Place {
    uint8_t* tile;
    int step, lane, r, second;
  };
  uint8_t* TileAt(int col) const {
    return strip_ + static_cast<size_t>(col / spec_.Columns()) * spec_.TileBytes();
  }
  Place PlaceOf(int col) const {
    const int k = col % 16;
    return {TileAt(col), col % spec_.Columns() / 16, row_ % 8 * 4 + k % 8 / 2, k / 8 * 2 + row_ / 8,
            k % 2};
  }
  // Word i of the lane.
  uint8_t* WordOf(const Place& at, int i) const {
    const int piece = i / 4, words = std::min(4, spec_.CodeWords() - 4 * piece);
    return at.tile + piece * 512 + (at.lane * words + i % 4) * 4;
  }
  static void Or(uint8_t* word, uint32_t bits) {
    uint32_t value;
    std::memcpy(&value, word, sizeof(value));
    value |= bits;
    std::memcpy(word, &value, sizeof(value));
  }

  uint8_t* strip_;
  uint8_t* supers_;
  FormatSpec spec_;
  int row_;
};

// Whether bfloat16 has the number as well: eight bits of eleven, of small ones wherever they begin.
bool IsBFloat16(uint16_t half) {
  const uint32_t fraction = half & 0x3ff;
  if ((half & 0x7c00) != 0) return (fraction & 7) == 0;
  return fraction < 256 || (fraction & (fraction < 512 ? 1 : 3)) == 0;
}

// `format`: of the type's size.
void PackFloats(RowWriter& to, Format format, Type type, const uint8_t* row, int cols) {
  for (int col = 0; col < cols; ++col) {
    uint32_t bits = 0;
    const size_t size = type == Type::kF32 ? 4 : 2;
    std::memcpy(&bits, row + static_cast<size_t>(col) * size, size);
    if (format == Format::kBF16 && type == Type::kF16) {
      bits = FloatToBF16(HalfToFloat(static_cast<uint16_t>(bits)));
    }
    to.PutFloat(col, bits);
  }
}

void PackCodes(RowWriter& to, const FormatSpec& spec, Type type, const uint8_t* row, int cols) {
  const QuantDecoder decode = DecoderOf(type);
  QuantBlock block;
  for (int col = 0; col < cols; col += kBlock) {
    decode(row, col / kBlock, &block);
    // Where the format has another type's offset, or none, codes move.
    const int shift = spec.offset - block.offset;
    for (int i = 0; i < kBlock; ++i) {
      to.PutCode(col + i, static_cast<uint8_t>(block.code[i] + shift));
    }
    to.PutScales(col, block);
  }
}

}  // namespace

Tiles TilesFor(const gguf::Tensor& tensor) {
  return {.format = FormatOf(tensor.type),
          .rows = static_cast<int>(tensor.Rows()),
          .cols = static_cast<int>(tensor.Cols())};
}

Tiles NarrowTilesFor(const gguf::Tensor& tensor) {
  Tiles tiles = TilesFor(tensor);
  if (tiles.format != Format::kF16) return tiles;
  for (size_t i = 0; i < tensor.bytes; i += sizeof(uint16_t)) {
    uint16_t half;
    std::memcpy(&half, tensor.data + i, sizeof(half));
    if (!IsBFloat16(half)) return tiles;
  }
  tiles.format = Format::kBF16;
  return tiles;
}

absl::StatusOr<gguf::Tensor> PartToPack(const gguf::Tensor& tensor, gguf::Split split, int parts) {
  ASSIGN_OR_RETURN(gguf::Tensor part, gguf::ShapeOfPart(tensor, split, parts));
  if (parts > 1 && split == gguf::Split::kColumns && part.Cols() % kChunk != 0) {
    return InvalidField("tensor_parallel",
                        absl::StrCat(tensor.name, " has ", tensor.Cols(), " columns; each of ",
                                     parts, " devices needs a multiple of ", kChunk));
  }
  return part;
}

void PackStrips(uint8_t* to, const Tiles& tiles, const gguf::Tensor& tensor, int first, int end) {
  const FormatSpec spec = SpecOf(tiles.format);
  std::memset(to, 0, static_cast<size_t>(end - first) * tiles.StripBytes());
  for (int r = first * kStripRows; r < std::min(end * kStripRows, tiles.rows); ++r) {
    uint8_t* strip = to + static_cast<size_t>(r / kStripRows - first) * tiles.StripBytes();
    RowWriter writer(strip, tiles, r % kStripRows);
    const uint8_t* row = tensor.data + static_cast<size_t>(r) * tensor.RowBytes();
    if (spec.scales == Scales::kNone) {
      PackFloats(writer, tiles.format, tensor.type, row, tiles.cols);
    } else {
      PackCodes(writer, spec, tensor.type, row, tiles.cols);
    }
  }
}

}  // namespace softsplice::cuda
