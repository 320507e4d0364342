// How fast the engine is, as measured on what it did: what a newcomer has to wait is told from it,
// and how many rows of prompts a step has time for.
#pragma once

#include "absl/time/time.h"
#include "decoder_svc/engine/row_cost.h"

namespace softsplice {

// Averages that forget: the last few requests count most. Not thread-safe.
class Pace {
 public:
  // `stall_target`: see EngineOptions.
  explicit Pace(absl::Duration stall_target) : stall_target_(stall_target) {}

  // A step that read rows of prompts and wrote one token in each of `writing` sequences.
  void OnStep(const PromptRows& read, int writing, absl::Duration took);
  // A request that ended, however it did.
  void OnEnd(int prompt_tokens, int completion_tokens);

  // Prompt rows to read and tokens to write, of one request or of several.
  struct Work {
    double rows = 0;
    double tokens = 0;
    Work& operator+=(const Work& other) {
      rows += other.rows;
      tokens += other.tokens;
      return *this;
    }
  };
  // What is left of a request with `unread` prompt tokens that may write `most` tokens more. An
  // answer goes on for as long as the average one, however long it is already.
  Work Left(int unread, int most) const;
  // What a request takes of which nothing is known yet.
  Work Typical() const { return {prompt_.value(), answer_.value()}; }
  // How long `work` takes where `at_once` sequences go on in each step: they take turns in reading
  // and write side by side.
  absl::Duration TimeFor(const Work& work, int at_once) const;
  // Of prompts beside answers, at their beginning; 0 before the first step. The best speed of any
  // step (not the last or an average one, which smaller steps would slow down, which would make
  // them smaller still), or the part of it with which 99 steps of 100 hold the stall target where
  // others use the machine, or steps take now more, now less.
  double rows_per_second() const { return part_ * best_rows_per_second_; }
  // How many rows at a prompt's beginning a row at `position` costs as much as.
  double Weight(int position) const { return row_cost_.Weight(position); }

 private:
  void Correct(double weight, double stall);

  class Average {
   public:
    explicit Average(double guess) : value_(guess) {}
    void Add(double sample);
    double value() const { return value_; }

   private:
    double value_;
    bool known_ = false;
  };

  // Nothing is measured before the first step: then no wait is expected.
  Average seconds_per_row_{0};
  Average seconds_per_token_{0};
  Average prompt_{512};
  Average answer_{256};
  const absl::Duration stall_target_;
  RowCost row_cost_;
  double best_rows_per_second_ = 0;
  double part_ = 1;
};

}  // namespace softsplice
