#include "decoder_svc/server/answer.h"

#include <utility>

namespace softsplice {
namespace {

v1::FinishReason Reason(const EngineResult& result, bool stopped, const Tokenizer& tokenizer) {
  // A stop string may be complete only when the held back end of the text came out.
  if (stopped) return v1::FINISH_REASON_STOP_STRING;
  switch (result.finish) {
    case EngineFinish::kStopToken:
      return result.stop_token >= 0 && result.stop_token == tokenizer.Find("<|tool_response>")
                 ? v1::FINISH_REASON_TOOL_CALL
                 : v1::FINISH_REASON_STOP;
    case EngineFinish::kSink:
      return v1::FINISH_REASON_STOP_STRING;
    case EngineFinish::kMaxTokens:
      return v1::FINISH_REASON_MAX_TOKENS;
    case EngineFinish::kContextFull:
      return v1::FINISH_REASON_CONTEXT_FULL;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

}  // namespace

void Answer::Fill(const TokenLogprob& from, v1::TokenLogprob* to) const {
  to->set_token_id(from.token);
  to->set_token(std::string(tokenizer_.Bytes(from.token)));
  to->set_logprob(from.logprob);
}

std::vector<v1::Delta> Answer::Push(const SampledToken& token) {
  if (logprobs_) {
    v1::TokenLogprobs& logprobs = pending_.emplace_back();
    Fill(token.chosen, logprobs.mutable_chosen());
    for (const TokenLogprob& other : token.alternatives) Fill(other, logprobs.add_alternatives());
  }
  return ToMessages(stream_.Push(token.chosen.token));
}

std::vector<v1::Delta> Answer::Finish() { return ToMessages(stream_.Finish()); }

std::vector<v1::Delta> Answer::ToMessages(const std::vector<OutputDelta>& deltas) {
  std::vector<v1::Delta> messages;
  for (const OutputDelta& delta : deltas) {
    v1::Delta& message = messages.emplace_back();
    message.set_channel(delta.channel == OutputChannel::kThought ? v1::CHANNEL_THOUGHT
                                                                 : v1::CHANNEL_ANSWER);
    message.set_text(delta.text);
    for (const int32_t token : delta.tokens) {
      message.add_token_ids(token);
      if (!logprobs_) continue;
      *message.add_logprobs() = std::move(pending_.front());
      pending_.pop_front();
    }
  }
  return messages;
}

v1::Finished Answer::Summary(const EngineResult& result, int prompt_tokens) const {
  v1::Finished finished;
  finished.set_reason(Reason(result, stream_.stopped(), tokenizer_));
  finished.set_stop_string(stream_.stop_string());
  v1::Usage* usage = finished.mutable_usage();
  usage->set_prompt_tokens(prompt_tokens);
  usage->set_cached_tokens(result.cached_tokens);
  usage->set_completion_tokens(result.completion_tokens);
  usage->set_thought_tokens(stream_.thought_tokens());
  return finished;
}

}  // namespace softsplice
