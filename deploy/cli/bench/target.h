// What a load must know of the decoder before it begins.
#pragma once

#include <grpcpp/support/status.h>

#include <cstdint>
#include <vector>

#include "deploy/cli/signals.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice::bench {

struct Target {
  v1::GetDecoderInfoResponse info;
  // Tokens that end an answer: banned, so that answers are as long as a workload says.
  std::vector<uint32_t> stop_tokens;
  // Of the words of synthetic.h.
  double tokens_per_word = 1;
};

// Asks the decoder. The error is the first call's that failed: CANCELLED after a signal.
grpc::Status Ask(v1::DecoderService::Stub& stub, Interrupts& interrupts, Target& target);

}  // namespace softsplice::bench
