// An answer's tokens as the messages that a client gets.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "decoder_svc/engine/engine.h"
#include "decoder_svc/text/output.h"
#include "decoder_svc/text/tokenizer.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// One per answer; not thread-safe.
class Answer {
 public:
  // `tokenizer` must outlive it.
  Answer(const Tokenizer& tokenizer, const std::vector<std::string>& stop, bool logprobs)
      : tokenizer_(tokenizer), stream_(tokenizer, stop), logprobs_(logprobs) {}

  // What can be sent now that `token` came.
  std::vector<v1::Delta> Push(const SampledToken& token);
  // What was held back, at the end.
  std::vector<v1::Delta> Finish();

  // A stop string was met: no more tokens are wanted.
  bool stopped() const { return stream_.stopped(); }

  // The last message, after Finish(); its timings are left to the caller.
  v1::Finished Summary(const EngineResult& result, int prompt_tokens) const;

 private:
  std::vector<v1::Delta> ToMessages(const std::vector<OutputDelta>& deltas);
  void Fill(const TokenLogprob& from, v1::TokenLogprob* to) const;

  const Tokenizer& tokenizer_;
  OutputStream stream_;
  const bool logprobs_;
  std::deque<v1::TokenLogprobs> pending_;  // of the tokens that are not in a delta yet
};

}  // namespace softsplice
