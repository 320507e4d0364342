// A medium that is to be brought to an encoder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "decoder_svc/encoder_pool/collector.h"
#include "softsplice/v1/soft_tokens.pb.h"

namespace softsplice {

struct EncodeJob {
  Wanted wanted;
  absl::string_view data;  // must live until `done` was called
  std::string mime_type;
  uint32_t max_soft_tokens = 0;                        // of a picture, or a frame
  uint32_t max_frames = 0;                             // of a video
  bool without_sound = false;                          // a video
  const void* request = nullptr;                       // whose medium it is: requests take turns
  absl::Duration deadline = absl::InfiniteDuration();  // of SteadyNow
  std::string request_id;
  std::string traceparent;  // may be empty
  // Called at most once, from any thread, with the checked header before any row: an error ends
  // the encoding with it. May be empty.
  std::function<absl::Status(const v1::SoftTokensHeader&)> on_header;
  // Called, from any thread, whenever more runs are complete and others are not: their checksum is
  // still to come, and where another encoder has to begin anew, so do they. May be empty.
  std::function<void(const EncodedMedium& so_far)> on_runs;
};

}  // namespace softsplice
