// `softsplice-decoder`: serves a text model's GGUF file over gRPC.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/config/text_config.h"
#include "common/config/unread.h"
#include "common/gguf/file.h"
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
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/encoder_pool/encoder_secrets.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/flags.h"
#include "decoder_svc/server/metrics.h"
#include "decoder_svc/server/service.h"
#include "decoder_svc/text/chat.h"
#include "decoder_svc/text/tokenizer.h"

namespace softsplice {
namespace {

// Prompts that are tokenised at the same time; the engine keeps most of the machine.
constexpr int kWorkers = 2;
// An encoder that is there says so at once; one that is not need not be waited for.
constexpr absl::Duration kFirstAnswers = absl::Seconds(2);

// The model's text side and its engine; in this order, as each uses those before it.
struct Model {
  std::unique_ptr<gguf::File> file;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;
  std::unique_ptr<Engine> engine;
};

absl::StatusOr<Model> LoadModel(const DecoderFlags& flags, const DecoderMetrics& metrics,
                                const Logger& logger) {
  Model model;
  ASSIGN_OR_RETURN(model.file, gguf::File::Open(flags.model));
  // Says best what kind of file it is, if it is another.
  ASSIGN_OR_RETURN(const TextConfig config, TextConfig::FromGguf(*model.file));
  EngineOptions engine = flags.engine;
  engine.on_load = LoadLog(logger);
  engine.on_step = [&metrics](const StepReport& step) { metrics.OnStep(step); };
  if (engine.context_length > config.context_length) {
    engine.context_length = config.context_length;
    logger.Log(LogLevel::kWarning, "the context is what the model was made for",
               {{"context", config.context_length}, {"wanted", flags.engine.context_length}});
  }
  if (const auto names = UnreadNames(*model.file); !names.empty()) {
    logger.Log(LogLevel::kWarning, "what the file has besides a model of this kind is not read",
               {{"names", absl::StrJoin(names, ", ")}});
  }
  ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::FromGguf(*model.file));
  std::string source;
  if (model.file->Has("tokenizer.chat_template")) {
    ASSIGN_OR_RETURN(source, model.file->String("tokenizer.chat_template"));
  }
  model.chat_template = std::make_unique<ChatTemplate>(*model.tokenizer, source);
  if (!model.chat_template->known()) {
    logger.Log(LogLevel::kWarning, "the file's chat template is not one this version knows",
               {{"template", std::string(model.chat_template->name())}});
  }
  const Tokenizer& tokenizer = *model.tokenizer;
  ASSIGN_OR_RETURN(model.engine, Engine::Load(*model.file, engine,
                                              {.stop = tokenizer.StopTokens(),
                                               .banned = tokenizer.BannedTokens(),
                                               .placeholders = tokenizer.PlaceholderTokens()}));
  return model;
}

// Not OK once the model can't be served any more.
absl::Status Check(const Model& model) {
  RETURN_IF_ERROR(model.file->CheckUnchanged());
  return model.engine->health();
}

// Null: none is configured.
std::unique_ptr<EncoderPool> FindEncoders(EncoderPoolOptions options, EncoderSecrets* secrets,
                                          int dim, const DecoderMetrics& metrics,
                                          const Logger& logger) {
  if (options.encoders.empty()) return nullptr;
  options.secrets = secrets;
  options.dim = dim;
  options.on_retry = [&metrics](Blame why) { metrics.OnRetry(why); };
  auto encoders = std::make_unique<EncoderPool>(std::move(options), logger);
  encoders->WaitForFirstAnswers(kFirstAnswers);
  return encoders;
}

absl::Status Serve(const ServiceFlags& service, const DecoderFlags& flags, const Logger& logger) {
  StopSignal stop;
  Metrics metrics;
  LivePhase phase = Phase::kLoading;
  const ProcessMetrics process(metrics, phase);
  ASSIGN_OR_RETURN(const auto admin,
                   AdminServer::Start(service.admin_listen, metrics, phase, logger));
  ASSIGN_OR_RETURN(const Reach reach, PrepareListenAddress(service.server.listen));
  ASSIGN_OR_RETURN(const auto gate, Gate::Open(service.gate, reach, metrics, logger));
  ASSIGN_OR_RETURN(const auto secrets,
                   EncoderSecrets::Open(flags.secrets, flags.pool.encoders, metrics, logger));
  ASSIGN_OR_RETURN(const bool there, WaitForModel(flags.model, service.model_wait, stop, logger));
  if (!there) return absl::OkStatus();
  logger.Log(LogLevel::kInfo, "loading", {{"file", flags.model}});
  const absl::Duration start = SteadyNow();
  // In this order: calls may outlive the server for as long as the engine or the encoders hold
  // them.
  Border border(service.border, gate.get());
  CallCounts counts;
  const CallMetrics call_metrics(metrics, DecoderServiceDescriptor());
  const DecoderMetrics decoder_metrics(metrics);
  ASSIGN_OR_RETURN(const Model model, LoadModel(flags, decoder_metrics, logger));
  const absl::Duration load = SteadyNow() - start;
  Engine& engine = *model.engine;
  logger.Log(LogLevel::kInfo, "loaded",
             {{"model", engine.info().name},
              {"backend", engine.info().backend},
              {"why", engine.info().backend_why},
              {"memory", Describe(engine.info().footprint)},
              {"template", std::string(model.chat_template->name())},
              {"context", engine.info().context_length},
              DurationField("load", load)});
  Workers workers(kWorkers);
  const std::unique_ptr<EncoderPool> encoders =
      FindEncoders(flags.pool, secrets.get(), engine.info().dim, decoder_metrics, logger);
  const Calls calls{logger, border, workers, call_metrics};
  KnownMedia known_media;
  Sessions sessions(flags.sessions);
  const DeviceWatch devices(engine.info().devices, engine.info().footprint);
  const DecoderContext context = {.engine = engine,
                                  .tokenizer = *model.tokenizer,
                                  .chat_template = *model.chat_template,
                                  .encoders = encoders.get(),
                                  .calls = calls,
                                  .counts = counts,
                                  .metrics = decoder_metrics,
                                  .known_media = known_media,
                                  .sessions = sessions,
                                  .limits = flags.media,
                                  .devices = &devices,
                                  .allow_foreign_soft_tokens = flags.allow_foreign_soft_tokens};
  const Metrics::Source figures = AddDecoderFigures(metrics, context, flags.engine.max_queue, load);
  ASSIGN_OR_RETURN(const std::unique_ptr<Server> server,
                   Server::Start(service.server, border, {MakeDecoderService(context)}));
  absl::Status status = ServeUntilStopped(*server, stop, phase, service.serve, logger, [&] {
    return Vitality{.failure = Check(model), .heartbeat = engine.last_step()};
  });
  engine.Shutdown();
  return status;
}

int Run(int argc, char** argv) {
  CLI::App app(
      "Answers prompts of text, pictures, sounds and videos with a Gemma 4 model, over gRPC",
      "softsplice-decoder");
  ServiceFlags service;
  DecoderFlags flags;
  AddDecoderFlags(app, &flags);
  AddServiceFlags(app, "localhost:50052", &service);
  if (const auto exit_code = ParseFlags(app, "SOFTSPLICE_DECODER_", argc, argv)) return *exit_code;
  gguf::EndOnLostPages("softsplice-decoder", kExitFailed);
  const Logger logger(service.log_format, service.log_level);
  SetGrpcLogger(&logger);
  const absl::Status status = Serve(service, flags, logger);
  SetGrpcLogger(nullptr);
  if (!status.ok()) logger.Print(absl::StrCat("softsplice-decoder: ", status.message()));
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  try {
    return softsplice::Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "softsplice-decoder: " << error.what() << std::endl;
    return softsplice::kExitFailed;
  }
}
