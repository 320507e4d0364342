#include "deploy/cli/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace softsplice::bench {
namespace {

constexpr Shape kShapes[] = {
    {.name = "w1",
     .help = "chat: 256 tokens read, 128 written",
     .prompt_tokens = 256,
     .answer_tokens = 128},
    {.name = "w2",
     .help = "long prompts: 8,192 read, 128 written",
     .prompt_tokens = 8192,
     .answer_tokens = 128},
    {.name = "w3",
     .help = "one picture and a question: 32 read, 128 written",
     .prompt_tokens = 32,
     .answer_tokens = 128,
     .min_pictures = 1,
     .max_pictures = 1},
    {.name = "w4",
     .help = "4 to 16 pictures, few of many: 32 read, 128 written",
     .prompt_tokens = 32,
     .answer_tokens = 128,
     .min_pictures = 4,
     .max_pictures = 16},
    {.name = "w5",
     .help = "a sound of 5 to 300 s: 32 read, 128 written",
     .prompt_tokens = 32,
     .answer_tokens = 128,
     .min_sound_seconds = 5,
     .max_sound_seconds = 300},
    {.name = "w6",
     .help = "8 turns of 64 read, 64 written, a picture in every other, 5 s between",
     .turns = 8,
     .prompt_tokens = 64,
     .answer_tokens = 64,
     .media_every = 2,
     .min_pictures = 1,
     .max_pictures = 1,
     .think_seconds = 5},
    {.name = "w7",
     .help = "as tools are used: a system turn of 4,096 for all, 6 turns of 256 read, 64 written",
     .system_tokens = 4096,
     .turns = 6,
     .prompt_tokens = 256,
     .answer_tokens = 64},
    {.name = "w8", .help = "w1, and w3 in --image-share of the requests"},
};

constexpr Shape kTraced = {.name = "trace"};

const Shape* FindShape(absl::string_view name) {
  const auto* found = std::find_if(std::begin(kShapes), std::end(kShapes),
                                   [&](const Shape& shape) { return shape.name == name; });
  return found == std::end(kShapes) ? nullptr : found;
}

double Uniform(Random& random) { return std::uniform_real_distribution<double>()(random); }

// Pareto's distribution with exponent 1.2, cut off at both ends: most are near `least`.
int HeavyTailed(Random& random, int least, int most) {
  constexpr double kExponent = 1.2;
  const double draw = least * std::pow(1 - Uniform(random), -1 / kExponent);
  return static_cast<int>(std::min<double>(draw, most));
}

bool HasMedia(const Shape& shape, int turn) { return turn % shape.media_every == 0; }

// As a small photo has them.
constexpr int kPictureWidth = 640;
constexpr int kPictureHeight = 480;

}  // namespace

std::string Workload::Help() {
  std::string help;
  for (const Shape& shape : kShapes)
    absl::StrAppend(&help, "  ", shape.name, "  ", shape.help, "\n");
  return help;
}

absl::StatusOr<Workload> Workload::Find(const WorkloadOptions& options) {
  const Shape* shape = FindShape(options.name);
  if (shape == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no workload ", options.name, "; they are w1 to w8"));
  }
  if (options.name == "w8") return Workload(options, *FindShape("w1"), *FindShape("w3"));
  return Workload(options, *shape, *shape);
}

Workload Workload::Replay(const WorkloadOptions& options, std::vector<TracedRequest> trace) {
  Workload workload(options, kTraced, kTraced);
  workload.trace_ = std::move(trace);
  return workload;
}

Conversation Workload::Make(uint64_t index) const {
  if (!trace_.empty()) return MakeTraced(index);
  Conversation conversation;
  Random of_all(options_.seed);
  std::seed_seq seed{options_.seed, options_.seed >> 32, index, index >> 32};
  Random random(seed);
  const Shape& shape = Uniform(random) < options_.image_share ? other_ : main_;
  if (shape.system_tokens > 0) conversation.system = Text(of_all, shape.system_tokens);
  conversation.answer_tokens = static_cast<uint32_t>(Scaled(shape.answer_tokens));
  for (int turn = 0; turn < shape.turns; ++turn) {
    conversation.prompts.push_back(Prompt(shape, turn, random));
  }
  return conversation;
}

Conversation Workload::MakeTraced(uint64_t index) const {
  constexpr int kBlock = TracedRequest::kTokensOfBlock;
  const TracedRequest& traced = trace_[index % trace_.size()];
  std::vector<std::string> texts;
  int left = traced.prompt_tokens;
  const auto add = [&](std::seed_seq seed, int tokens) {
    Random random(seed);
    texts.push_back(Text(random, tokens));
    left -= tokens;
  };
  for (const uint64_t block : traced.blocks) {
    if (left > 0) add({options_.seed, block, block >> 32}, std::min(left, kBlock));
  }
  if (left > 0) add({options_.seed, index, index >> 32, uint64_t{1}}, left);
  Conversation conversation{.answer_tokens = static_cast<uint32_t>(Scaled(traced.answer_tokens))};
  v1::Message& message = conversation.prompts.emplace_back();
  message.set_role(v1::ROLE_USER);
  message.add_parts()->set_text(absl::StrJoin(texts, " "));
  return conversation;
}

int Workload::Scaled(int tokens) const {
  return std::max(1, static_cast<int>(std::lround(tokens * options_.scale)));
}

std::string Workload::Text(Random& random, int tokens) const {
  const double words = Scaled(tokens) / options_.tokens_per_word;
  return RandomWords(random, std::max(1, static_cast<int>(std::lround(words))));
}

v1::Message Workload::Prompt(const Shape& shape, int turn, Random& random) const {
  v1::Message message;
  message.set_role(v1::ROLE_USER);
  if (HasMedia(shape, turn)) {
    const int pictures = HeavyTailed(random, shape.min_pictures, shape.max_pictures);
    for (int i = 0; i < pictures; ++i) {
      v1::Media& media = *message.add_parts()->mutable_media();
      media.set_data(RandomPicture(random, kPictureWidth, kPictureHeight, options_.tag));
      media.set_max_soft_tokens(options_.budget);
    }
    if (shape.max_sound_seconds > 0) {
      const double ratio = shape.max_sound_seconds / shape.min_sound_seconds;
      const double seconds = shape.min_sound_seconds * std::pow(ratio, Uniform(random));
      message.add_parts()->mutable_media()->set_data(
          RandomSound(random, absl::Seconds(seconds * options_.scale), options_.tag));
    }
  }
  message.add_parts()->set_text(Text(random, shape.prompt_tokens));
  return message;
}

int Workload::MostTokens() const {
  constexpr int kMarkers = 8;           // around a turn or a medium
  constexpr int kRowsOfPicture = 280;   // the service's default
  constexpr double kRowsOfSecond = 25;  // of a sound
  int most = 0;
  for (const TracedRequest& traced : trace_) {
    most =
        std::max(most, Scaled(traced.prompt_tokens) + Scaled(traced.answer_tokens) + 2 * kMarkers);
  }
  for (const Shape* shape : {&main_, &other_}) {
    int tokens = shape->system_tokens > 0 ? Scaled(shape->system_tokens) + kMarkers : 0;
    for (int turn = 0; turn < shape->turns; ++turn) {
      tokens += Scaled(shape->prompt_tokens) + Scaled(shape->answer_tokens) + 2 * kMarkers;
      if (!HasMedia(*shape, turn)) continue;
      const int rows = options_.budget > 0 ? static_cast<int>(options_.budget) : kRowsOfPicture;
      tokens += shape->max_pictures * (rows + kMarkers);
      tokens += static_cast<int>(shape->max_sound_seconds * options_.scale * kRowsOfSecond);
    }
    most = std::max(most, tokens);
  }
  return most;
}

}  // namespace softsplice::bench
