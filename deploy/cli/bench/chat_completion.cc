#include "deploy/cli/bench/chat_completion.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace softsplice::bench {
namespace {

using Json = nlohmann::json;

const char* RoleName(v1::Role role) {
  if (role == v1::ROLE_SYSTEM) return "system";
  return role == v1::ROLE_MODEL ? "assistant" : "user";
}

Json PartJson(const v1::Part& part) {
  if (part.has_text()) return {{"type", "text"}, {"text", part.text()}};
  const std::string data = absl::Base64Escape(part.media().data());
  if (absl::StartsWith(part.media().data(), "RIFF")) {
    return {{"type", "input_audio"}, {"input_audio", {{"data", data}, {"format", "wav"}}}};
  }
  const std::string url = absl::StrCat("data:image/bmp;base64,", data);
  return {{"type", "image_url"}, {"image_url", {{"url", url}}}};
}

}  // namespace

std::string ChatCompletionBody(const v1::GenerateRequest& request) {
  Json messages = Json::array();
  for (const v1::Message& message : request.chat().messages()) {
    Json parts = Json::array();
    for (const v1::Part& part : message.parts()) parts.push_back(PartJson(part));
    messages.push_back({{"role", RoleName(message.role())}, {"content", parts}});
  }
  const Json body = {{"messages", messages},
                     {"max_tokens", request.max_tokens()},
                     {"seed", request.sampling().seed()},
                     {"temperature", 1},
                     {"top_k", 64},
                     {"top_p", 0.95},
                     {"min_p", 0},
                     {"ignore_eos", true},
                     {"cache_prompt", !request.no_prefix_cache()},
                     {"timings_per_token", true},
                     {"stream", true}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

EventStream::EventStream(std::function<void(absl::string_view)> on_data)
    : on_data_(std::move(on_data)) {}

void EventStream::Feed(absl::string_view bytes) {
  absl::StrAppend(&rest_, bytes);
  absl::string_view left = rest_;
  for (size_t end; (end = left.find('\n')) != absl::string_view::npos;
       left.remove_prefix(end + 1)) {
    absl::string_view line = absl::StripSuffix(left.substr(0, end), "\r");
    if (absl::ConsumePrefix(&line, "data: ")) on_data_(line);
  }
  rest_ = std::string(left);
}

std::string TextAt(const Json& json, const std::string& pointer) {
  const Json::json_pointer at(pointer);
  return json.contains(at) && json[at].is_string() ? json[at].get<std::string>() : "";
}

double NumberAt(const Json& json, const std::string& pointer) {
  const Json::json_pointer at(pointer);
  return json.contains(at) && json[at].is_number() ? json[at].get<double>() : 0;
}

}  // namespace softsplice::bench
