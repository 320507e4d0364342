// Linear layers' weights from GGUF's layout to that of tiles.h, on the host. Every value stays what
// it is: a type without a format of its own gets one that holds all of its values.
//   Q5_0, IQ4_NL: Q8_0 (8.5 bits a weight)      Q4_1: Q5_1 (7)      Q3_K: Q6_K (6.6)
#pragma once

#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "common/gguf/part.h"
#include "kernels/cuda/tiles.h"

namespace softsplice::cuda {

// Without data.
Tiles TilesFor(const gguf::Tensor& tensor);
// The same, by the numbers: float16 all of which are bfloat16 too, as in a file made from one of
// those, become that. As many bytes, half the work, and the same bits of products.
Tiles NarrowTilesFor(const gguf::Tensor& tensor);

// One part of a weight, without data. INVALID_ARGUMENT: it can't be parted, or sums would be in
// another order than those of the whole.
absl::StatusOr<gguf::Tensor> PartToPack(const gguf::Tensor& tensor, gguf::Split split, int parts);

// Writes strips [first, end) to `to`, (end - first) * tiles.StripBytes() bytes. Strips are
// independent: any number of threads may pack at once.
void PackStrips(uint8_t* to, const Tiles& tiles, const gguf::Tensor& tensor, int first, int end);

}  // namespace softsplice::cuda
