#include "common/server/flags.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

// An option in seconds that fills a duration.
void AddSeconds(CLI::App& app, const std::string& name, absl::Duration* duration,
                const std::string& help) {
  app.add_option_function<double>(
         name, [duration](const double& seconds) { *duration = absl::Seconds(seconds); }, help)
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("SECONDS")
      ->default_str(absl::StrCat(absl::ToDoubleSeconds(*duration)));
}

void AddLimitFlags(CLI::App& app, ServiceFlags* flags) {
  app.add_option("--max-request-bytes", flags->border.max_request_bytes,
                 "Largest message that is taken")
      ->check(CLI::Range(uint64_t{1} << 10, uint64_t{1} << 30))
      ->type_name("BYTES")
      ->capture_default_str();
  app.add_option("--max-live-calls", flags->border.max_calls,
                 "Calls that may be in the service at once; one more is refused with a retry delay")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--max-live-bytes", flags->border.max_bytes,
                 "What the requests and unsent answers of all calls may occupy")
      ->check(CLI::Range(uint64_t{1} << 20, uint64_t{1} << 50))
      ->type_name("BYTES")
      ->capture_default_str();
  AddSeconds(app, "--max-call-seconds", &flags->border.call_limit,
             "What a request may take in all, whatever deadline it has; then it ends with what is "
             "done");
  app.add_option("--max-connections", flags->server.max_connections,
                 "Connections that may be open at once; one more is closed at once")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  AddSeconds(app, "--max-connection-age", &flags->server.max_connection_age,
             "Connections are asked to reconnect after this long, so that load spreads over "
             "replicas; running calls go on; 0 is off; never on a unix socket");
}

void AddGateFlags(CLI::App& app, ServiceFlags* flags) {
  const auto file = [&](const char* name, std::string* path, const char* help) {
    return app.add_option(name, *path, help)->type_name("FILE");
  };
  auto* certificate =
      file("--tls-cert", &flags->gate.tls.certificate,
           "The service's certificate, and those between it and its authority (PEM): connections "
           "are TLS. Like all files of certificates and tokens it is read again when it changes");
  auto* key = file("--tls-key", &flags->gate.tls.key, "Its private key (PEM, no passphrase)");
  certificate->needs(key);
  key->needs(certificate);
  file("--tls-client-ca", &flags->gate.tls.ca,
       "Authorities (PEM): clients have to show a certificate of one of them")
      ->needs(certificate);
  file("--auth-tokens", &flags->gate.tokens,
       "Who may call: lines of a name and the SHA-256 of its bearer token. Needs TLS, a unix "
       "socket or localhost");
  app.add_option_function<std::string>(
         "--reflection",
         [flags](const std::string& value) { flags->server.reflection = value == "on"; },
         "Whether clients may ask for the contract (grpcurl does): on or off")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->default_str("on");
}

LogLevel LevelOf(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "warning") return LogLevel::kWarning;
  return name == "error" ? LogLevel::kError : LogLevel::kInfo;
}

}  // namespace

void AddServiceFlags(CLI::App& app, const std::string& default_listen, ServiceFlags* flags) {
  flags->server.listen = default_listen;
  flags->log_format = isatty(STDERR_FILENO) != 0 ? LogFormat::kText : LogFormat::kJson;
  app.set_version_flag("--version", app.get_name() + " " SOFTSPLICE_VERSION);
  app.add_option(
         "--listen", flags->server.listen,
         "Where to listen: host:port ([::]:PORT for all interfaces, 0.0.0.0:PORT for those of "
         "IPv4) or unix:PATH")
      ->type_name("ADDRESS")
      ->capture_default_str();
  app.add_option("--admin-listen", flags->admin_listen,
                 "Where operators are answered, by plain HTTP: host:port. /metrics for Prometheus; "
                 "/livez and /readyz: 200 or 503, and a word that says why. Not set: nowhere")
      ->type_name("ADDRESS");
  AddGateFlags(app, flags);
  AddLimitFlags(app, flags);
  AddSeconds(app, "--model-wait-seconds", &flags->model_wait,
             "How long the model's file may take to appear, if another program puts it there: by "
             "renaming it when it is whole");
  AddSeconds(app, "--lame-duck-seconds", &flags->serve.lame_duck,
             "After a stop signal health says NOT_SERVING this long while new calls are still "
             "taken, so that whoever sends them can learn of it");
  AddSeconds(app, "--drain-seconds", &flags->serve.drain,
             "What running calls get to end after a stop signal");
  app.add_option_function<std::string>(
         "--log-format",
         [flags](const std::string& name) {
           flags->log_format = name == "json" ? LogFormat::kJson : LogFormat::kText;
         },
         "How log lines on stderr look; text on a terminal, json elsewhere")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
  app.add_option_function<std::string>(
         "--log-level", [flags](const std::string& name) { flags->log_level = LevelOf(name); },
         "The least that is logged")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->type_name("LEVEL")
      ->default_str("info");
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitStopped;
  // What has a reason is of the model or the machine, which may be another at the next start.
  const bool usage = absl::IsInvalidArgument(status) && GetErrorDetail(status).reason.empty();
  return usage ? kExitUsage : kExitFailed;
}

std::optional<int> ParseFlags(CLI::App& app, const std::string& prefix, int argc, char** argv) {
  for (CLI::Option* option : app.get_options()) {
    const std::string name = option->get_single_name();
    if (name == "help" || name == "version") continue;
    option->envname(
        absl::StrCat(prefix, absl::AsciiStrToUpper(absl::StrReplaceAll(name, {{"-", "_"}}))));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitStopped : kExitUsage;
  }
  return std::nullopt;
}

}  // namespace softsplice
