// The numbers of soft tokens as they go on the wire.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "softsplice/v1/soft_tokens.pb.h"

namespace softsplice {

// Bytes of one number; 0 for a type that the contract does not know.
int DataTypeBytes(v1::DataType type);

// INVALID_ARGUMENT (field "data_type"): one of `values` is so large that `type` has only infinity
// for it.
absl::Status CheckRange(absl::Span<const float> values, v1::DataType type);

// `values` as little-endian numbers of `type`; 16-bit ones are rounded to nearest even.
std::string PackValues(absl::Span<const float> values, v1::DataType type);

// Little-endian numbers of `type` as float32. `bytes` has a whole number of them. INVALID_ARGUMENT
// (field "data"): one is not finite.
absl::StatusOr<std::vector<float>> UnpackValues(absl::string_view bytes, v1::DataType type);

}  // namespace softsplice
