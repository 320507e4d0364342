// The server under load.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "deploy/cli/bench/call.h"

namespace softsplice::bench {

// What a load must know of a server before it begins.
struct TargetInfo {
  std::string kind;  // what program it is
  std::string version;
  std::string model;
  std::string runs_on;  // empty: it does not say
  int context_length = 0;
  // Tokens that end an answer: banned, so that answers are as long as a workload says.
  std::vector<uint32_t> stop_tokens;
  // Of the words of synthetic.h.
  double tokens_per_word = 1;
};

class Target {
 public:
  virtual ~Target() = default;
  const TargetInfo& info() const { return info_; }
  // All of them end before the target does.
  virtual std::unique_ptr<Call> NewCall(Call::Setup setup) = 0;
  // The conversation in this session, a CallResult's, is over.
  virtual void EndSession(const std::string& session) = 0;

 protected:
  TargetInfo info_;
};

}  // namespace softsplice::bench
