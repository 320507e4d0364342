// The parts of a Generate request that are not the prompt.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/server/context.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// The engine's request without its prompt. All options are checked: INVALID_ARGUMENT with the
// field; UNIMPLEMENTED: what this version does not serve.
absl::StatusOr<EngineRequest> ReadOptions(const v1::GenerateRequest& request,
                                          const DecoderContext& context);

// INVALID_ARGUMENT: too long.
absl::Status CheckSalt(const std::string& salt);

}  // namespace softsplice
