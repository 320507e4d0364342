// `softsplice-encoder`: serves an mmproj GGUF file over gRPC.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/gguf/lost_pages.h"
#include "common/log/log.h"
#include "common/server/address.h"
#include "common/server/admin_server.h"
#include "common/server/flags.h"
#include "common/server/gate.h"
#include "common/server/grpc_log.h"
#include "common/server/load_log.h"
#include "common/server/model_wait.h"
#include "common/server/process_metrics.h"
#include "common/server/serve.h"
#include "common/server/server.h"
#include "common/server/signals.h"
#include "common/status/macros.h"
#include "common/time/steady.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/ffmpeg/process.h"
#include "encoder_svc/server/metrics.h"
#include "encoder_svc/server/service.h"

namespace softsplice {
namespace {

// Some ninety pictures of 280 soft tokens of E4B.
constexpr uint64_t kCacheBytes = uint64_t{256} << 20;
// Requests that are parsed at the same time.
constexpr int kWorkers = 2;

void AddFlags(CLI::App& app, EncoderOptions* options) {
  app.add_option("--mmproj", options->mmproj_path,
                 "The mmproj GGUF file: the model's encoder of pictures, sounds or both")
      ->required()
      ->type_name("FILE");
  app.add_option("--threads", options->backend.threads,
                 "CPU threads; 0 is as many as the process may use")
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--backend", options->backend.name,
                 "auto (cuda where the devices are there and have the memory that the model takes, "
                 "else cpu), cuda, cpu (the best the machine has), cpu-avx512, cpu-avx2, "
                 "cpu-generic or ref (slow: for checks)")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--devices", options->devices,
                 "Of cuda and auto: the devices, by their indices among those that the process "
                 "sees, separated by commas. Each takes the whole model and encodes by itself")
      ->delimiter(',')
      ->check(CLI::Range(0, 1023))
      ->allow_extra_args(false)
      ->type_name("N,...")
      ->capture_default_str();
  app.add_option(
         "--device-memory-bytes", options->backend.device_memory,
         "Of cuda and auto: what may be taken of each device, where others use it too; more than "
         "the model needs is not taken. Not set: all that is free")
      ->check(CLI::PositiveNumber)
      ->type_name("BYTES");
  app.add_flag("--exact-weights", options->backend.exact_weights,
               "Expand quantised weights to float32: slower and larger, exact");
  app.add_flag("--quick-gelu", options->quick_gelu,
               "Use llama.cpp's activation in the image tower, for comparing with it. The model "
               "was not trained with it");
  app.add_flag_callback(
      "--max-mel-floor", [options] { options->mel_floor = MelFloor::kMax; },
      "Use llama.cpp's floor of a sound's log-mel frames, ln(max(mel, 0.001)) for ln(mel + 0.001), "
      "for comparing with it. The model was not trained with it");
  app.add_option("--max-media-bytes", options->max_media_bytes, "Largest file that is taken")
      ->type_name("BYTES")
      ->capture_default_str();
  app.add_option(
         "--max-image-pixels", options->max_image_pixels,
         "Largest picture that is decoded, in pixels; checked before. A JPEG of more is decoded "
         "at 1/2, 1/4 or 1/8 of its sides, any other is refused")
      ->type_name("N")
      ->capture_default_str();
  app.add_option_function<double>(
         "--max-audio-seconds",
         [options](double seconds) { options->max_audio_duration = absl::Seconds(seconds); },
         "Longest sound that is taken")
      ->check(CLI::Range(0.1, 86400.0))
      ->type_name("SECONDS")
      ->default_str("600");
  app.add_option_function<double>(
         "--max-video-seconds",
         [options](double seconds) { options->max_video_duration = absl::Seconds(seconds); },
         "Longest video that is taken; of its sound --max-audio-seconds")
      ->check(CLI::Range(0.1, 86400.0))
      ->type_name("SECONDS")
      ->default_str("600");
  app.add_option("--max-queue", options->max_queue,
                 "Media that may wait; one more is refused with a retry delay")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app.add_option_function<double>(
         "--max-wait-seconds",
         [options](double seconds) { options->max_wait = absl::Seconds(seconds); },
         "Longest expected wait; what would wait for longer is refused with a retry delay")
      ->check(CLI::Range(0.1, 86400.0))
      ->type_name("SECONDS")
      ->default_str("60");
  app.add_option("--decode-memory-bytes", options->decode_memory,
                 "Memory that files may take together while they are decoded and wait for the "
                 "model; one that takes more alone is refused")
      ->check(CLI::Range(uint64_t{1} << 20, uint64_t{1} << 40))
      ->type_name("BYTES")
      ->capture_default_str();
  app.add_option("--cache-bytes", options->cache_bytes,
                 "Memory for soft tokens of media that may come again, from whomever; "
                 "one may take a quarter of it. 0: each is encoded whenever it comes")
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 40))
      ->type_name("BYTES")
      ->capture_default_str();
}

absl::Status Serve(const ServiceFlags& flags, EncoderOptions options, const Logger& logger) {
  StopSignal stop;
  Metrics metrics;
  LivePhase phase = Phase::kLoading;
  const ProcessMetrics process(metrics, phase);
  ASSIGN_OR_RETURN(const auto admin,
                   AdminServer::Start(flags.admin_listen, metrics, phase, logger));
  ASSIGN_OR_RETURN(const Reach reach, PrepareListenAddress(flags.server.listen));
  ASSIGN_OR_RETURN(const auto gate, Gate::Open(flags.gate, reach, metrics, logger));
  ASSIGN_OR_RETURN(const bool there,
                   WaitForModel(options.mmproj_path, flags.model_wait, stop, logger));
  if (!there) return absl::OkStatus();
  logger.Log(LogLevel::kInfo, "loading", {{"file", options.mmproj_path}});
  const absl::Duration start = SteadyNow();
  Border border(flags.border, gate.get());  // outlives the encoder, which may hold calls
  const CallMetrics call_metrics(metrics, EncoderServiceDescriptor());
  const EncoderMetrics encoder_metrics(metrics);
  options.on_load = LoadLog(logger);
  options.on_pass = [&](const absl::Status& pass) { encoder_metrics.device_errors.Note(pass); };
  ASSIGN_OR_RETURN(const std::unique_ptr<Encoder> encoder, Encoder::Load(options));
  const absl::Duration load = SteadyNow() - start;
  logger.Log(LogLevel::kInfo, "loaded",
             {{"model", encoder->info().model_name},
              {"backend", encoder->info().backend},
              {"why", encoder->info().backend_why},
              {"memory", Describe(encoder->info().footprint)},
              DurationField("load", load)});
  Workers workers(kWorkers);
  const Calls calls{logger, border, workers, call_metrics};
  const DeviceWatch devices(encoder->info().devices, encoder->info().footprint);
  const EncoderContext context = {.encoder = *encoder,
                                  .options = options,
                                  .calls = calls,
                                  .metrics = encoder_metrics,
                                  .devices = &devices};
  const Metrics::Source figures = AddEncoderFigures(metrics, context, load);
  ASSIGN_OR_RETURN(const std::unique_ptr<Server> server,
                   Server::Start(flags.server, border, {MakeEncoderService(context)}));
  absl::Status status = ServeUntilStopped(*server, stop, phase, flags.serve, logger, [&] {
    return Vitality{.failure = encoder->health(), .heartbeat = encoder->last_step()};
  });
  encoder->Shutdown();
  return status;
}

int Run(int argc, char** argv) {
  CLI::App app(
      "Turns pictures, sounds and videos into soft tokens for a Gemma 4 decoder, over gRPC",
      "softsplice-encoder");
  ServiceFlags flags;
  EncoderOptions options;
  options.backend.name = "auto";
  options.cache_bytes = kCacheBytes;
  options.ffmpeg = FindFfmpeg();
  AddFlags(app, &options);
  AddServiceFlags(app, "localhost:50051", &flags);
  if (const auto exit_code = ParseFlags(app, "SOFTSPLICE_ENCODER_", argc, argv)) return *exit_code;
  gguf::EndOnLostPages("softsplice-encoder", kExitFailed);
  const Logger logger(flags.log_format, flags.log_level);
  SetGrpcLogger(&logger);
  const absl::Status status = Serve(flags, options, logger);
  SetGrpcLogger(nullptr);
  if (!status.ok()) logger.Print(absl::StrCat("softsplice-encoder: ", status.message()));
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  try {
    return softsplice::Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "softsplice-encoder: " << error.what() << std::endl;
    return softsplice::kExitFailed;
  }
}
