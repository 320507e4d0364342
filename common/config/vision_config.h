// The hyperparameters of a gemma4v image tower, read once from its mmproj GGUF file and checked.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"

namespace softsplice {

// All sizes are positive and small enough that products of any three fit in 64 bits and the rows
// of every matrix in an int.
struct VisionConfig {
  std::string name;
  int layers = 0;
  int dim = 0;
  int heads = 0;  // of dim / heads numbers, a multiple of 4
  int ffn = 0;
  float eps = 0;
  int patch = 16;          // side of a patch in pixels
  int pool = 3;            // patches pooled into one soft token: pool x pool
  float rope_base = 100;   // in no key of the file
  int positions = 0;       // entries of each of the two position tables: patches along a side
  int projection_dim = 0;  // of a soft token

  int HeadDim() const { return dim / heads; }

  // FAILED_PRECONDITION (InvalidFile): another kind of file, one without an image tower, or a value
  // that is missing, out of range or at odds with the tensors.
  static absl::StatusOr<VisionConfig> FromGguf(const gguf::File& file);
};

}  // namespace softsplice
