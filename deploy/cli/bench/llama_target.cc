#include "deploy/cli/bench/llama_target.h"

#include <curl/curl.h>

#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"
#include "common/time/steady.h"
#include "deploy/cli/bench/chat_completion.h"
#include "deploy/cli/bench/http.h"
#include "deploy/cli/bench/synthetic.h"

namespace softsplice::bench {
namespace {

using Json = nlohmann::json;

// A chat completion, on a thread of its own.
class CompletionCall final : public Call {
 public:
  CompletionCall(std::string url, Setup setup)
      : Call(std::move(setup)),
        url_(std::move(url)),
        events_([this](absl::string_view data) { OnEvent(data); }) {}

  void Start(const v1::GenerateRequest& request) override {
    HttpRequest http = {.url = url_, .body = ChatCompletionBody(request), .timeout = timeout_};
    result_.record.sent = SteadyNow();
    thread_ = std::jthread([this, http = std::move(http)] { Run(http); });
  }
  void Abandon() override { abandoned_ = true; }

 private:
  void Run(const HttpRequest& request) {
    const auto status = SendHttp(
        request, [this] { return abandoned_.load(); },
        [this](absl::string_view bytes) { events_.Feed(bytes); });
    if (!finished_) result_.record.end = SteadyNow();
    if (!status.ok()) return Finish(absl::StatusCodeToString(status.status().code()));
    if (*status != 200) OnError(Json::parse(events_.rest(), nullptr, false));
    Finish(error_.empty() && !finished_ ? "no end of the answer" : error_);
  }

  void OnEvent(absl::string_view data) {
    if (data == "[DONE]") {
      finished_ = true;
      result_.record.end = SteadyNow();
      return;
    }
    const Json event = Json::parse(data, nullptr, false);
    if (event.contains("error")) OnError(event);
    const std::string answer = TextAt(event, "/choices/0/delta/content");
    int tokens = 0;
    if (event.contains("timings")) tokens = OnTimings(event["timings"]);
    OnMessage(tokens, answer);
  }

  // How many tokens are new.
  int OnTimings(const Json& timings) {
    const auto count = [&](const char* name) { return static_cast<int>(NumberAt(timings, name)); };
    Record& record = result_.record;
    record.cached_tokens = count("/cache_n");
    record.prompt_tokens = record.cached_tokens + count("/prompt_n");
    record.prefill = absl::Milliseconds(NumberAt(timings, "/prompt_ms"));
    const int written = count("/predicted_n");
    return written - std::exchange(written_, written);
  }

  void OnError(const Json& reply) {
    error_ =
        absl::StrCat("HTTP ", NumberAt(reply, "/error/code"), " ", TextAt(reply, "/error/type"));
  }

  const std::string url_;
  EventStream events_;
  int written_ = 0;
  bool finished_ = false;
  std::string error_;
  std::jthread thread_;  // the last: it ends before what it uses
};

class LlamaTarget final : public Target {
 public:
  LlamaTarget(std::string url, const Interrupts& interrupts)
      : url_(std::move(url)), interrupts_(interrupts) {}

  std::unique_ptr<Call> NewCall(Call::Setup setup) override {
    return std::make_unique<CompletionCall>(absl::StrCat(url_, "/v1/chat/completions"),
                                            std::move(setup));
  }

  void EndSession(const std::string&) override {}

  absl::Status Ask() {
    ASSIGN_OR_RETURN(const Json props, Send("/props", ""));
    info_.kind = "llama-server";
    info_.version = TextAt(props, "/build_info");
    info_.model = std::filesystem::path(TextAt(props, "/model_path")).filename().string();
    info_.context_length = static_cast<int>(NumberAt(props, "/default_generation_settings/n_ctx"));
    return CountWords();
  }

 private:
  absl::StatusOr<Json> Send(const std::string& path, const std::string& body) {
    const HttpRequest request = {
        .url = absl::StrCat(url_, path), .body = body, .timeout = absl::Seconds(30)};
    std::string reply;
    ASSIGN_OR_RETURN(const int status,
                     SendHttp(
                         request, [this] { return interrupts_.raised(); },
                         [&](absl::string_view bytes) { absl::StrAppend(&reply, bytes); }));
    Json json = Json::parse(reply, nullptr, false);
    if (status == 200 && json.is_object()) return json;
    return absl::UnavailableError(
        absl::StrCat(request.url, " answers HTTP ", status, " ", TextAt(json, "/error/message")));
  }

  absl::Status CountWords() {
    constexpr int kWords = 1000;
    Random random;
    const Json body = {{"content", RandomWords(random, kWords)}};
    ASSIGN_OR_RETURN(const Json reply, Send("/tokenize", body.dump()));
    if (!reply.contains("tokens") || reply["tokens"].empty()) {
      return absl::UnavailableError(absl::StrCat(url_, " is no llama-server"));
    }
    info_.tokens_per_word = static_cast<double>(reply["tokens"].size()) / kWords;
    return absl::OkStatus();
  }

  const std::string url_;
  const Interrupts& interrupts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Target>> ConnectLlamaServer(const std::string& url,
                                                           const Interrupts& interrupts) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  auto target = std::make_unique<LlamaTarget>(std::string(absl::StripSuffix(url, "/")), interrupts);
  RETURN_IF_ERROR(target->Ask());
  return target;
}

}  // namespace softsplice::bench
