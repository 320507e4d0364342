// Shows one answer while it streams in.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// OnEvent for each event in order, then OnEnd once, also after a failure.
class AnswerPrinter {
 public:
  virtual ~AnswerPrinter() = default;
  // Errors are those of PrintAnswer: then the rest of the answer is of no use.
  virtual absl::Status OnEvent(const v1::GenerateResponse& response) = 0;
  virtual void OnEnd() = 0;
};

// The answer on stdout; thoughts, progress and figures on stderr, figures only on a terminal.
// `waiting`: what goes on until the first event. Of the prompt's last `new_media` media figures are
// shown.
std::unique_ptr<AnswerPrinter> MakeTextPrinter(const std::string& waiting, int new_media);

// Every event as one line of JSON on stdout, in the field names of the .proto.
std::unique_ptr<AnswerPrinter> MakeJsonPrinter();

}  // namespace softsplice
