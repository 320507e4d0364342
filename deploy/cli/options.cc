#include "deploy/cli/options.h"

#include <sstream>

#include "deploy/cli/client.h"

namespace softsplice {
namespace {

constexpr size_t kColumn = 32;  // where descriptions begin
constexpr size_t kWidth = 100;

}  // namespace

CLI::Option* AddServer(CLI::App& app, std::string& address) {
  address = DefaultDecoderAddress();
  return app
      .add_option("--server", address,
                  "The decoder's address (default: $SOFTSPLICE_SERVER, or where `softsplice up` "
                  "listens, or localhost:50052)")
      ->option_text("ADDR");
}

CLI::Option* AddEncoder(CLI::App& app, std::string& address) {
  address = DefaultEncoderAddress();
  return app
      .add_option("--encoder", address,
                  "The encoder's address (default: $SOFTSPLICE_ENCODER, or where `softsplice up` "
                  "listens, or localhost:50051)")
      ->option_text("ADDR");
}

CLI::Option* AddBudget(CLI::App& app, uint32_t& budget) {
  return app
      .add_option("--budget", budget,
                  "Rows per picture: 70, 140, 280, 560 or 1120; more show more detail and take "
                  "more time (default: 280)")
      ->option_text("ROWS")
      ->check(CLI::IsMember({70, 140, 280, 560, 1120}));
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
