// How many blocks of keys and values there are, and how many a sequence may have.
#pragma once

namespace softsplice {

// Two pools: a block holds `block_rows` positions of all full layers that own keys and values, or
// of all sliding ones. A sequence keeps all of its full blocks, of the sliding ones those that its
// next rows see.
struct KvShape {
  // A later prompt may part from an earlier one so many positions before its end: templates write
  // there what the next turn does not repeat.
  static constexpr int kTemplateTail = 32;

  int block_rows = 0;
  int slots = 0;             // sequences at once
  int window = 0;            // positions before a row that stay in sliding layers
  int full_blocks = 0;       // in all
  int sliding_blocks = 0;    // in all
  int full_per_slot = 0;     // at most
  int sliding_per_slot = 0;  // at most; the table of a slot, which is used in turns
  int resume_points = 0;     // whose windows are kept for later prompts, at most

  // The least for `sequences` of up to `context_length` positions, one of which may be that long
  // while all others are short. Rows see `window` positions, themselves included; at most `chunk`
  // of a step's rows are prompts'.
  static KvShape Least(int sequences, int context_length, int window, int chunk);
  // Sliding blocks that a resume point takes, at most.
  int BlocksOfWindow() const;
};

}  // namespace softsplice
