#include "decoder_svc/flags.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace softsplice {
namespace {

// CLI11 reports a usage error by an exception.
void CheckDevices(size_t ranks, bool named, std::vector<int>* devices) {
  if (!named) {
    devices->resize(ranks);
    absl::c_iota(*devices, 0);
  }
  if (devices->size() == ranks) return;
  throw CLI::ValidationError(
      "--devices", absl::StrCat("it names ", devices->size(), ", --tensor-parallel says ", ranks));
}

void AddDeviceFlags(CLI::App& app, DecoderFlags* flags) {
  auto* devices =
      app.add_option("--devices,--device", flags->engine.devices,
                     "Of cuda and auto: the devices, by their indices among those that the process "
                     "sees, separated by commas; as many as --tensor-parallel says. One that is "
                     "named twice is two, with sums through the host's memory: for checks")
          ->delimiter(',')
          ->check(CLI::Range(0, 1023))
          ->allow_extra_args(false)
          ->type_name("N,...")
          ->default_str("0; 0,1 with --tensor-parallel 2");
  app.add_option(
         "--tensor-parallel", flags->tensor_parallel,
         "GPUs that share one model out, 1 or 2: for answers that come sooner in BF16, and "
         "room for contexts of 128K tokens. Not for Q4_0, which gets no faster, nor for more "
         "answers at once: more decoders give more of them. 2 need NCCL (libnccl.so.2), and "
         "give the bits that 1 gives")
      ->check(CLI::Range(1, kMostRanks))
      ->type_name("N")
      ->capture_default_str();
  app.callback([flags, devices] {
    CheckDevices(static_cast<size_t>(flags->tensor_parallel), !devices->empty(),
                 &flags->engine.devices);
  });
}

void AddModelFlags(CLI::App& app, DecoderFlags* flags) {
  app.add_option("--model", flags->model, "The text model: a GGUF file")
      ->required()
      ->type_name("FILE");
  app.add_option("--context", flags->engine.context_length,
                 "Tokens that one request may hold, prompt and answer; at most what the model was "
                 "made for")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--chunk", flags->engine.chunk, "Prompt tokens that are read in one step, at most")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->default_str("512; 2048 on a GPU");
  app.add_option_function<double>(
         "--stall-target-ms",
         [flags](const double& ms) { flags->engine.stall_target = absl::Milliseconds(ms); },
         "How much longer the next token of an answer may take while prompts of others are read")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("MS")
      ->default_str("300");
  app.add_option("--max-sequences", flags->engine.max_sequences,
                 "Requests that are read or written at once; the others wait")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->capture_default_str();
  app.add_option(
         "--kv-memory", flags->engine.kv_memory,
         "Memory, of each GPU, for the keys and values of all requests at once. A request "
         "begins when its prompt and 1,024 tokens of its answer fit; what goes on past that "
         "may have to pause. Not set: 2 GiB, or what one whole context needs if that is "
         "more")
      ->check(CLI::PositiveNumber)
      ->type_name("BYTES");
  app.add_option_function<std::string>(
         "--kv", [flags](const std::string& type) { flags->engine.kv_f32 = type == "f32"; },
         "Type of the cached keys and values: f16, or f32 (twice the memory)")
      ->check(CLI::IsMember({"f16", "f32"}))
      ->type_name("TYPE")
      ->default_str("f16");
  app.add_option("--max-queue", flags->engine.max_queue,
                 "Requests that may wait; one more is refused with a retry delay")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app.add_option_function<double>(
         "--max-wait-seconds",
         [flags](const double& seconds) { flags->engine.max_wait = absl::Seconds(seconds); },
         "Longest wait that a request may have to expect, from the pace of those before; one that "
         "would wait longer is refused with a retry delay")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("SECONDS")
      ->default_str("120");
  app.add_option("--threads", flags->engine.backend.threads,
                 "CPU threads; 0 is as many as the process may use")
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--backend", flags->engine.backend.name,
                 "auto (cuda where a device is there and has the memory that the model takes, else "
                 "cpu), cuda, cpu (the best the machine has), cpu-avx512, cpu-avx2, cpu-generic or "
                 "ref (slow: for checks)")
      ->type_name("NAME")
      ->capture_default_str();
  AddDeviceFlags(app, flags);
  app.add_option_function<std::string>(
         "--ple-memory",
         [flags](const std::string& where) {
           flags->engine.backend.large_tables_on_host = where == "host";
         },
         "Of cuda and auto: where the table of per-layer embeddings lies, which is a third of the "
         "weights or more: device, or host (pinned; each token's row comes over the bus)")
      ->check(CLI::IsMember({"device", "host"}))
      ->type_name("WHERE")
      ->default_str("device");
  app.add_option(
         "--device-memory-bytes", flags->engine.backend.device_memory,
         "Of cuda and auto: what may be taken of each device, where others use it too; more than "
         "the model needs is not taken. Not set: all that is free")
      ->check(CLI::PositiveNumber)
      ->type_name("BYTES");
  app.add_flag("--exact-weights", flags->engine.backend.exact_weights,
               "Expand quantised weights to float32: slower and larger, exact");
}

// CLI11 reports a usage error by an exception.
void ReadEncoders(const std::vector<std::string>& values, EncoderPoolOptions* pool) {
  for (const absl::string_view value : absl::StrSplit(absl::StrJoin(values, ","), ',')) {
    auto name = ParseEncoderName(value);
    if (!name.ok()) throw CLI::ValidationError("--encoder", std::string(name.status().message()));
    pool->encoders.push_back(*std::move(name));
  }
}

void ReadFingerprint(const std::string& value, EncoderPoolOptions* pool) {
  const bool digits = std::all_of(value.begin(), value.end(), absl::ascii_isxdigit);
  if (!digits || value.size() != 64) {
    throw CLI::ValidationError("--encoder-fingerprint", "it takes 64 hexadecimal digits");
  }
  pool->fingerprint = absl::HexStringToBytes(value);
}

void AddMediaFlags(CLI::App& app, DecoderFlags* flags) {
  app.add_option_function<std::vector<std::string>>(
         "--encoder",
         [flags](const std::vector<std::string>& values) { ReadEncoders(values, &flags->pool); },
         "The encoders, separated by commas: HOST:PORT or dns:///NAME:PORT (all replicas behind "
         "the name), dns://SERVER/NAME:PORT (as that DNS server knows it) or unix:PATH. None: text "
         "and the clients' own soft tokens only")
      ->allow_extra_args(false)
      ->type_name("ADDRESS");
  app.add_option_function<std::string>(
         "--encoder-fingerprint",
         [flags](const std::string& value) { ReadFingerprint(value, &flags->pool); },
         "The only encoder model whose rows are taken, as softsplice info shows it. Not set: that "
         "of the first encoder that answers")
      ->type_name("HEX");
  app.add_option_function<double>(
         "--encode-limit-seconds",
         [flags](const double& seconds) { flags->pool.encode_limit = absl::Seconds(seconds); },
         "Longest time that an encoder may take for a picture, or from one frame of a video or "
         "segment of a sound to the next")
      ->check(CLI::Range(0.001, 1e6))
      ->type_name("SECONDS")
      ->default_str("120");
  app.add_option("--max-media-bytes", flags->media.max_media_bytes,
                 "Largest picture, sound or video file that is taken")
      ->type_name("BYTES")
      ->capture_default_str();
  app.add_option("--max-media", flags->media.max_media, "Media that one request may hold")
      ->check(CLI::Range(0, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--allow-foreign-soft-tokens", flags->allow_foreign_soft_tokens,
               "Take soft tokens of clients whoever's encoder made them, as long as their width "
               "fits");
}

void AddEncoderSecretFlags(CLI::App& app, EncoderSecretPaths* secrets) {
  const auto file = [&](const char* name, std::string* path, const char* help) {
    return app.add_option(name, *path, help)->type_name("FILE");
  };
  auto* ca = file("--encoder-tls-ca", &secrets->tls.ca,
                  "Authorities of the encoders' certificates (PEM): they are talked to over TLS");
  auto* certificate = file("--encoder-tls-cert", &secrets->tls.certificate,
                           "The certificate that they are shown (PEM)");
  auto* key = file("--encoder-tls-key", &secrets->tls.key, "Its private key (PEM, no passphrase)");
  certificate->needs(ca)->needs(key);
  key->needs(certificate);
  app.add_option("--encoder-tls-name", secrets->name,
                 "The name that their certificates have. Not set: that of --encoder")
      ->type_name("NAME")
      ->needs(ca);
  file("--encoder-token-file", &secrets->token,
       "The bearer token that they are shown. Needs TLS, unix sockets or localhost");
}

void AddSessionFlags(CLI::App& app, SessionOptions* sessions) {
  app.add_option("--max-sessions", sessions->max_sessions,
                 "Sessions that may be there at once; one client may have half of them")
      ->check(CLI::Range(0, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--session-memory", sessions->max_bytes,
                 "What the histories of all sessions may occupy")
      ->type_name("BYTES")
      ->capture_default_str();
  const auto seconds = [&](const std::string& name, absl::Duration* to, const std::string& help) {
    app.add_option_function<double>(
           name, [to](const double& value) { *to = absl::Seconds(value); }, help)
        ->check(CLI::Range(1.0, 1e8))
        ->type_name("SECONDS")
        ->default_str(absl::StrCat(absl::ToDoubleSeconds(*to)));
  };
  seconds("--session-idle-seconds", &sessions->idle_timeout,
          "After so long without a request a session is deleted, if it does not ask for another "
          "time");
  seconds("--max-session-idle-seconds", &sessions->max_idle_timeout,
          "The longest time that it may ask for");
  app.add_option(
         "--advertise", sessions->advertise,
         "Where clients reach this very decoder, as HOST:PORT, not one of several behind a "
         "name: sessions live in one decoder, and their answers say in which. Not set: they "
         "do not say")
      ->type_name("ADDRESS");
}

}  // namespace

void AddDecoderFlags(CLI::App& app, DecoderFlags* flags) {
  AddModelFlags(app, flags);
  AddMediaFlags(app, flags);
  AddEncoderSecretFlags(app, &flags->secrets);
  AddSessionFlags(app, &flags->sessions);
}

}  // namespace softsplice
