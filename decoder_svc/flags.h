// The decoder's own flags; see common/server/flags.h for those that both services have.
#pragma once

#include <CLI/App.hpp>
#include <string>

#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/encoder_pool/encoder_secrets.h"
#include "decoder_svc/engine/engine_options.h"
#include "decoder_svc/server/context.h"
#include "decoder_svc/server/sessions.h"

namespace softsplice {

struct DecoderFlags {
  DecoderFlags() { engine.backend.name = "auto"; }

  std::string model;
  EngineOptions engine;
  int tensor_parallel = 1;
  EncoderPoolOptions pool;
  EncoderSecretPaths secrets;
  MediaLimits media;
  SessionOptions sessions;
  bool allow_foreign_soft_tokens = false;
};

// Adds them to `app`. `flags` is filled when `app` parses, and must outlive it.
void AddDecoderFlags(CLI::App& app, DecoderFlags* flags);

}  // namespace softsplice
