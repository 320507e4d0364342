// The hyperparameters of a gemma4a audio tower, read once from its mmproj GGUF file and checked.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"

namespace softsplice {

// All sizes are positive and small enough that products of any three fit in 64 bits and the rows
// of every matrix in an int.
struct AudioConfig {
  std::string name;
  int layers = 0;
  int dim = 0;
  int heads = 0;  // divide dim
  int ffn = 0;
  int mel_bins = 128;             // a multiple of 4: the two convolutions halve them twice
  int conv_channels[2] = {0, 0};  // of the two convolutions that come first
  int kernel = 0;          // taps of the layers' depthwise convolution, the last one on the row
  int output_dim = 0;      // of the tower, before the projector
  int projection_dim = 0;  // of a soft token
  // In no key of the file; old files have a key for eps and a wrong value.
  float eps = 1e-6f;        // of all norms
  int context = 12;         // a position attends to itself and the context - 1 before it
  float softcap = 50;       // of attention scores
  float timescale = 10000;  // longest wavelength of the relative positions' sinusoids, over 2 pi

  int HeadDim() const { return dim / heads; }

  // FAILED_PRECONDITION (InvalidFile): another kind of file, one without an audio tower, or a value
  // that is missing, out of range or at odds with the tensors.
  static absl::StatusOr<AudioConfig> FromGguf(const gguf::File& file);
};

}  // namespace softsplice
