// The pool's own parts that its header need not show.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/encoder_pool/pool_call.h"
#include "decoder_svc/encoder_pool/target.h"

namespace softsplice {

// One of the --encoder flag's values; guarded by the pool's mutex.
struct EncoderPool::Name {
  EncoderName name;
  absl::Duration since;                // known to the pool
  std::vector<std::string> addresses;  // as they were last found
  bool answered = false;               // or failed, at least once
  absl::Status failure;                // of the last question
  std::unique_ptr<Resolver> resolver;  // none: it is an address
};

// What a change brings about, done once the mutex is free.
struct EncoderPool::Work {
  struct Line {
    LogLevel level;
    std::string event;
    std::vector<LogField> fields;
  };

  void Log(LogLevel level, std::string event, std::vector<LogField> fields) {
    lines.push_back({level, std::move(event), std::move(fields)});
  }

  std::vector<Line> lines;
  std::vector<TargetPtr> probes;
  std::vector<std::pair<CallPtr, TargetPtr>> starts;
  std::vector<Blame> retries;  // of those that start
  struct Leave {
    CallPtr call;
    TargetPtr target;
    PoolCall::Why why;
  };
  std::vector<Leave> leaves;
  std::vector<std::pair<CallPtr, absl::StatusOr<EncodedMedium>>> ends;
};

}  // namespace softsplice
