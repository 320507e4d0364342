// How a matmul is cut into tasks: pure functions of its shape.
#pragma once

#include <cstddef>
#include <string>

namespace softsplice {

struct MatmulShape {
  int rows = 0;
  int outs = 0;
  int depth = 0;            // padded inputs
  int panel = 0;            // outputs per panel
  int tile_rows = 0;        // rows per tile
  int stream_rows = 0;      // up to so many, weights are read in one stream
  int depth_unit = 0;       // inputs are cut at multiples of this
  double weight_bytes = 0;  // per weight, packed
  double input_bytes = 0;   // per activation, packed
  int threads = 0;
};

// Tasks are blocks of rows x blocks of outputs. Each walks `depth_block` inputs at a time: the
// block of activations stays in the second-level cache while panels, expanded in the first-level
// one, pass by.
struct Blocking {
  int row_block = 0;    // a multiple of tile_rows, or all rows
  int out_block = 0;    // a multiple of panel
  int depth_block = 0;  // a multiple of depth_unit, or all inputs

  int RowTasks(const MatmulShape& shape) const;
  int OutTasks(const MatmulShape& shape) const;
  std::string DebugString() const;
};

Blocking ChooseBlocking(const MatmulShape& shape);

}  // namespace softsplice
