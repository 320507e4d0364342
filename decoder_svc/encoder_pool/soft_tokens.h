// Soft tokens that come over the wire: nothing in them is believed before it is checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "softsplice/v1/soft_tokens.pb.h"

namespace softsplice {

struct SoftTokensRules {
  int dim = 0;                // the decoder's width
  std::string fingerprint;    // of the encoder whose rows are taken; empty: none is known
  bool has_encoders = false;  // so that one may be known soon
  bool allow_foreign = false;
};

// Rows that stand side by side in a prompt: a picture's, or those of one segment of a sound or one
// frame of a video.
struct RowRun {
  int rows = 0;
  // rows * dim numbers; null: they are only counted, or are known without them.
  std::shared_ptr<const std::vector<float>> values;
  // Says all that the rows are: runs of one name have one content, whoever sent them. Made of what
  // came, never of what its sender calls it. Empty: they are only counted.
  std::string name;
};

// The runs of such rows, counted.
std::vector<RowRun> RunsOf(const v1::SoftTokensHeader& header);
// Puts the values and the name of all its rows into `run`, which is counted. INVALID_ARGUMENT: they
// are not finite.
absl::Status FillRun(v1::DataType type, absl::string_view data, RowRun* run);

// Whether the decoder can use rows with this header, whatever their values. FAILED_PRECONDITION:
// another encoder made them, or there is none to compare with; UNAVAILABLE: none has answered yet;
// INVALID_ARGUMENT: anything else, with the field ("header.dim").
absl::Status CheckHeader(const v1::SoftTokensHeader& header, const SoftTokensRules& rules);

// All checks: the header, the size of the data, its checksum, finite values.
absl::StatusOr<std::vector<RowRun>> ReadSoftTokens(const v1::SoftTokens& soft_tokens,
                                                   const SoftTokensRules& rules);

}  // namespace softsplice
