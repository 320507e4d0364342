#include "deploy/cli/options.h"

#include <sstream>

#include "absl/strings/str_cat.h"
#include "deploy/cli/client.h"
#include "deploy/cli/files.h"

namespace softsplice {
namespace {

constexpr size_t kColumn = 32;  // where descriptions begin
constexpr size_t kWidth = 100;

}  // namespace

CLI::Option* AddServer(CLI::App& app, std::string& address) {
  address = DefaultDecoderAddress();
  return app
      .add_option("--server", address,
                  "The decoder's address: host:port, unix:PATH, or https://host:port over TLS "
                  "(default: $SOFTSPLICE_SERVER, or where `softsplice up` "
                  "listens, or localhost:50052)")
      ->option_text("ADDR");
}

CLI::Option* AddEncoder(CLI::App& app, std::string& address) {
  address = DefaultEncoderAddress();
  return app
      .add_option(
          "--encoder", address,
          "The encoder's address, likewise (default: $SOFTSPLICE_ENCODER, or where `softsplice up` "
          "listens, or localhost:50051)")
      ->option_text("ADDR");
}

void AddAccess(CLI::App& app, Access& access) {
  const auto add = [&](const char* name, std::string* value, const char* variable,
                       const std::string& help) {
    return app.add_option(name, *value, absl::StrCat(help, " (default: $", variable, ")"))
        ->envname(variable)
        ->group("TLS and tokens");
  };
  const auto file = [&](const char* name, std::string* value, const char* variable,
                        const std::string& help) {
    return add(name, value, variable, help)->option_text("FILE")->check(CLI::ExistingFile);
  };
  file("--ca", &access.tls.ca, "SOFTSPLICE_CA",
       "Authorities (PEM) that an https:// service's certificate may be of, instead of the "
       "system's");
  auto* certificate = file("--cert", &access.tls.certificate, "SOFTSPLICE_CERT",
                           "The certificate (PEM) that an https:// service is shown");
  auto* key = file("--key", &access.tls.key, "SOFTSPLICE_KEY", "Its private key (PEM)");
  certificate->needs(key);
  key->needs(certificate);
  add("--tls-name", &access.name, "SOFTSPLICE_TLS_NAME",
      "The name that an https:// service's certificate has, if not the address's host")
      ->option_text("NAME");
  file("--token-file", &access.token_file, "SOFTSPLICE_TOKEN_FILE",
       "A file that holds the token that the service wants");
}

CLI::Validator FileOrStream() {
  return {[](std::string& path) { return path == kStream ? "" : CLI::ExistingFile(path); }, ""};
}

CLI::Option* AddBudget(CLI::App& app, uint32_t& budget) {
  return app
      .add_option("--budget", budget,
                  "Rows per picture: 70, 140, 280, 560 or 1120; more show more detail and take "
                  "more time (default: 280)")
      ->option_text("ROWS")
      ->check(CLI::IsMember({70, 140, 280, 560, 1120}));
}

void AddMediaOptions(CLI::App& app, MediaOptions& options) {
  AddBudget(app, options.budget)
      ->description(
          "Rows per picture, and per frame of a video: 70, 140, 280, 560 or 1120; more show more "
          "detail and take more time (default: 280, per frame 70)");
  app.add_option("--frames", options.frames,
                 "Frames of a video that are read, evenly spread: 1 to 256, or all that it has if "
                 "those are fewer (default: 32)")
      ->option_text("N")
      ->check(CLI::Range(1, 256));
  app.add_flag("--no-sound", options.no_sound, "Leave out the sound of a video");
}

void AddBackend(CLI::App& app, ServicesOptions& services, CLI::Option* needs) {
  auto* backend = app.add_option("--backend", services.backend,
                                 "What both services run on: auto, cuda, cpu, ... as "
                                 "softsplice-decoder --help explains (default: auto)")
                      ->option_text("NAME");
  auto* devices =
      app.add_option("--devices", services.devices,
                     "GPUs by their indices, separated by commas: the first is the decoder's, the "
                     "others are the encoder's; one is for both (default: 0)")
          ->option_text("N,...")
          ->delimiter(',')
          ->allow_extra_args(false)
          ->check(CLI::Range(0, 1023));
  auto* tensor_parallel =
      app.add_option(
             "--tensor-parallel", services.tensor_parallel,
             "GPUs that share the decoder's model out, 1 or 2: the first ones of --devices, "
             "as softsplice-decoder --help explains (default: 1)")
          ->option_text("N")
          ->check(CLI::Range(1, 2));
  if (needs == nullptr) return;
  backend->needs(needs);
  devices->needs(needs);
  tensor_parallel->needs(needs);
}

HelpFormatter::HelpFormatter() { column_width(kColumn); }

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  std::istringstream words(option->get_description());
  std::string text;
  size_t used = 0;
  for (std::string word; words >> word; used += word.size() + 1) {
    if (used + word.size() > kWidth - kColumn) {
      text += '\n';
      used = 0;
    } else if (!text.empty()) {
      text += ' ';
    }
    text += word;
  }
  return text;
}

}  // namespace softsplice
