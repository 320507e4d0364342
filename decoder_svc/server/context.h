// What the decoder's handlers work with.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/server/calls.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/server/known_media.h"
#include "decoder_svc/server/load.h"
#include "decoder_svc/server/metrics.h"
#include "decoder_svc/server/sessions.h"
#include "decoder_svc/text/chat.h"
#include "decoder_svc/text/tokenizer.h"
#include "kernels/device_watch.h"

namespace softsplice {

struct MediaLimits {
  uint64_t max_media_bytes = 32 << 20;  // of one medium
  int max_media = 256;                  // of one request
};

// All of it outlives the service.
struct DecoderContext {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate& chat_template;
  EncoderPool* encoders = nullptr;  // null: no encoder is configured
  const Calls& calls;
  CallCounts& counts;
  const DecoderMetrics& metrics;
  KnownMedia& known_media;
  Sessions& sessions;
  MediaLimits limits;
  const DeviceWatch* devices = nullptr;  // null: there is none to tell of
  bool allow_foreign_soft_tokens = false;
};

}  // namespace softsplice
