// Linear layers' weights as the matmul kernels read them: what pack.h writes and matmul.cu reads.
//
// A strip is 16 outputs (rows of the weight), a tile 16 outputs and 16 to 64 inputs of a strip, in
// the order of the tensor core's registers: each lane's words lie together. With g = lane / 4 and t
// = lane % 4 a lane has outputs g and g + 8, and of each 16 inputs those at 2t + {0, 1} in
// registers 0 (output g) and 1 (g + 8), those at 2t + 8 + {0, 1} in registers 2 and 3.
//   strip: tiles, from the first input on, then super scales (16 outputs, 4 bytes each, for each
//          256 inputs: two float16)
//   tile:  pieces of four words of each lane, then one of two if any is left; then scales, a piece
//          for each g
// Outputs are padded to a multiple of 16 and inputs to a multiple of 64, with zeroes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace softsplice::cuda {

inline constexpr int kStripRows = 16;
inline constexpr int kChunk = 64;  // inputs: slices begin and end at multiples of it
// The order of sums: slice s has chunks [s n / kSlices, (s + 1) n / kSlices) of a strip's n. Each
// is summed from zero, in the order of inputs; slices are added in order within each half of them,
// then the halves. A device may have one half, of whole chunks: its other slices are empty.
inline constexpr int kSlices = 8;

// A type of GGUF, or one that holds all values of others (pack.cc).
enum class Format : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_XS,
};

// How a tile holds a number. In a word, register r's two codes begin at bits 4r and 4r + 16 (of
// four bits, a word for each 16 inputs); at 8 (r % 2) and that + 16 (of eight bits, two words).
// Of six bits three words have 32 inputs, eight registers: two each at bits 0 and 6, + 16; of the
// last two four bits at 12 and 28 of the first words, two at 12 and 28, 14 and 30 of the third.
enum class Codes : uint8_t { kFloat32, kFloat16, kBFloat16, kFourBits, kSixBits, kSigned8 };

// What numbers are: code * scale - minimum. In a tile, for each g:
enum class Scales : uint8_t {
  kNone,            // number = code
  kHalf,            // for each 32 inputs two float16: of outputs g and g + 8
  kHalfAndMin,      // the same, and the minimums
  kSixBitsAndMin,   // for outputs g and g + 8 four bytes: scales of each 32 inputs, minimums; times
                    // the two super scales
  kFourBitsAndMin,  // four bytes: (scale, minimum) of each 16 inputs; the same
  kSigned8,         // four bytes: scales of each 16 inputs, plus 128; times the first super scale
};

struct FormatSpec {
  Codes codes;
  int offset;  // the number is (code - offset) * scale - minimum
  Scales scales;

  // Inputs of a tile.
  constexpr int Columns() const {
    if (codes == Codes::kFloat32) return 16;
    return codes == Codes::kFloat16 || codes == Codes::kBFloat16 ? 32 : 64;
  }
  // Words of a lane's codes.
  constexpr int CodeWords() const {
    if (codes == Codes::kFourBits) return 4;
    return codes == Codes::kSixBits ? 6 : 8;
  }
  // Words for each g.
  constexpr int ScaleWords() const {
    if (scales == Scales::kNone) return 0;
    return scales == Scales::kHalfAndMin ? 4 : 2;
  }
  // Inputs that share a scale.
  constexpr int Group() const {
    const bool of_16 = scales == Scales::kFourBitsAndMin || scales == Scales::kSigned8;
    return of_16 || scales == Scales::kNone ? 16 : 32;
  }
  constexpr bool HasMin() const {
    return scales == Scales::kHalfAndMin || scales == Scales::kSixBitsAndMin ||
           scales == Scales::kFourBitsAndMin;
  }
  constexpr bool HasSuper() const {
    return scales == Scales::kSixBitsAndMin || scales == Scales::kFourBitsAndMin ||
           scales == Scales::kSigned8;
  }
  // Bfloat16 numbers whose sum is the code: exact but for float32, which keeps 16 bits.
  constexpr int Parts() const {
    return codes == Codes::kFloat32 || codes == Codes::kFloat16 ? 2 : 1;
  }
  constexpr size_t TileBytes() const {
    return static_cast<size_t>(CodeWords() * 32 + ScaleWords() * 8) * 4;
  }
};

inline constexpr int kSuperColumns = 256;
inline constexpr size_t kSuperBytes = 64;
constexpr FormatSpec SpecOf(Format format) {
  switch (format) {
    case Format::kF32:
      return {Codes::kFloat32, 0, Scales::kNone};
    case Format::kF16:
      return {Codes::kFloat16, 0, Scales::kNone};
    case Format::kBF16:
      return {Codes::kBFloat16, 0, Scales::kNone};
    case Format::kQ4_0:
      return {Codes::kFourBits, 8, Scales::kHalf};
    case Format::kQ5_1:
      return {Codes::kSixBits, 0, Scales::kHalfAndMin};
    case Format::kQ8_0:
      return {Codes::kSigned8, 0, Scales::kHalf};
    case Format::kQ2_K:
      return {Codes::kFourBits, 0, Scales::kFourBitsAndMin};
    case Format::kQ4_K:
      return {Codes::kFourBits, 0, Scales::kSixBitsAndMin};
    case Format::kQ5_K:
      return {Codes::kSixBits, 0, Scales::kSixBitsAndMin};
    case Format::kQ6_K:
      return {Codes::kSixBits, 32, Scales::kSigned8};
    case Format::kIQ4_XS:
      return {Codes::kSigned8, 0, Scales::kSigned8};
  }
  return {};
}

// A packed weight [rows, cols], strip by strip.
struct Tiles {
  Format format = Format::kF32;
  int rows = 0, cols = 0;
  int parts = 1;                  // 2: it is half of the columns of a weight
  const uint8_t* data = nullptr;  // 16-byte aligned

  int Strips() const { return (rows + kStripRows - 1) / kStripRows; }
  int Chunks() const { return (cols + kChunk - 1) / kChunk; }
  size_t TilesBytes() const {  // of a strip, without super scales
    const FormatSpec spec = SpecOf(format);
    return static_cast<size_t>(Chunks() * (kChunk / spec.Columns())) * spec.TileBytes();
  }
  size_t StripBytes() const {
    const size_t supers = static_cast<size_t>((cols + kSuperColumns - 1) / kSuperColumns);
    return TilesBytes() + (SpecOf(format).HasSuper() ? supers * kSuperBytes : 0);
  }
  size_t Bytes() const { return static_cast<size_t>(Strips()) * StripBytes(); }
};

}  // namespace softsplice::cuda
