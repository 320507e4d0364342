// What users are like: conversations of a few kinds, made from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "deploy/cli/bench/synthetic.h"
#include "deploy/cli/bench/trace.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice::bench {

// The conversations of a workload, before scaling. Tokens are of text alone.
struct Shape {
  absl::string_view name;
  absl::string_view help;
  int system_tokens = 0;  // one text for all conversations
  int turns = 1;
  int prompt_tokens = 0;  // a turn
  int answer_tokens = 0;  // a turn
  // In every `media_every`th turn, the first one included.
  int media_every = 1;
  int min_pictures = 0;
  int max_pictures = 0;  // counts between have a heavy tail (Pareto)
  double min_sound_seconds = 0;
  double max_sound_seconds = 0;  // 0: no sound; lengths between are even on a logarithmic scale
  double think_seconds = 0;      // between turns
};

struct WorkloadOptions {
  std::string name = "w1";
  // Multiplies tokens and lengths of sounds.
  double scale = 1;
  // w8 only: the share of conversations with a picture.
  double image_share = 0.3;
  // Rows a picture may take; 0: the service's default.
  uint32_t budget = 0;
  uint64_t seed = 0;
  // Tells the media of this run from those of others with the same seed.
  uint32_t tag = 0;
  double tokens_per_word = 1;
};

struct Conversation {
  std::string system;                // may be empty
  std::vector<v1::Message> prompts;  // one a turn
  uint32_t answer_tokens = 0;        // a turn
};

class Workload {
 public:
  // One line per workload for --help.
  static std::string Help();
  // INVALID_ARGUMENT: there is none of this name.
  static absl::StatusOr<Workload> Find(const WorkloadOptions& options);

  // One request in each conversation, of the trace in its order. It is not empty.
  static Workload Replay(const WorkloadOptions& options, std::vector<TracedRequest> trace);

  // The same conversation for the same options and index; others share nothing with it but the
  // system turn. Thread-safe.
  Conversation Make(uint64_t index) const;
  // About the most tokens that one conversation holds at its end.
  int MostTokens() const;
  absl::Duration think() const { return absl::Seconds(main_.think_seconds); }

 private:
  Workload(const WorkloadOptions& options, const Shape& main, const Shape& other)
      : options_(options), main_(main), other_(other) {}
  Conversation MakeTraced(uint64_t index) const;
  int Scaled(int tokens) const;
  std::string Text(Random& random, int tokens) const;
  v1::Message Prompt(const Shape& shape, int turn, Random& random) const;

  WorkloadOptions options_;
  const Shape& main_;
  const Shape& other_;                // of image_share of the conversations
  std::vector<TracedRequest> trace_;  // instead of both
};

}  // namespace softsplice::bench
