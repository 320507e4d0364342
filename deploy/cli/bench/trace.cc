#include "deploy/cli/bench/trace.h"

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"

namespace softsplice::bench {
namespace {

using Json = nlohmann::json;

constexpr int kMostTokens = 100'000'000;

absl::Status Wrong(size_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, " of the trace: ", what));
}

absl::StatusOr<int> Tokens(const Json& request, const char* field, size_t line) {
  const auto found = request.find(field);
  if (found == request.end() || !found->is_number_integer() || *found < 1 || *found > kMostTokens) {
    return Wrong(line, absl::StrCat(field, " is not a number of tokens from 1 to ", kMostTokens));
  }
  return found->get<int>();
}

absl::StatusOr<std::vector<uint64_t>> Blocks(const Json& request, size_t line) {
  std::vector<uint64_t> blocks;
  const auto found = request.find("hash_ids");
  if (found == request.end()) return blocks;
  bool good = found->is_array();
  for (auto id = found->begin(); good && id != found->end(); ++id) {
    good = id->is_number_unsigned();
    if (good) blocks.push_back(id->get<uint64_t>());
  }
  if (!good) return Wrong(line, "hash_ids is not a list of numbers from 0 on");
  return blocks;
}

}  // namespace

absl::StatusOr<std::vector<TracedRequest>> ParseTrace(absl::string_view text) {
  std::vector<TracedRequest> trace;
  double last = 0;
  size_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    const Json request = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!request.is_object()) return Wrong(number, "it is not an object of JSON");
    const auto at = request.find("timestamp");
    if (at == request.end() || !at->is_number() || *at < last) {
      return Wrong(number, absl::StrCat("timestamp is not a number of milliseconds from ", last,
                                        " on, when the one before it came"));
    }
    TracedRequest traced;
    if (!trace.empty()) traced.after = absl::Milliseconds(at->get<double>() - last);
    last = at->get<double>();
    ASSIGN_OR_RETURN(traced.prompt_tokens, Tokens(request, "input_length", number));
    ASSIGN_OR_RETURN(traced.answer_tokens, Tokens(request, "output_length", number));
    ASSIGN_OR_RETURN(traced.blocks, Blocks(request, number));
    trace.push_back(std::move(traced));
  }
  if (trace.empty()) return absl::InvalidArgumentError("the trace has no request");
  return trace;
}

}  // namespace softsplice::bench
