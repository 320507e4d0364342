// Options that several commands share, and how --help looks.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "deploy/cli/access.h"
#include "deploy/cli/media.h"
#include "deploy/cli/services.h"

namespace softsplice {

// --server: `address` is the decoder's; where it is not given, the default of client.h.
CLI::Option* AddServer(CLI::App& app, std::string& address);
// --encoder: the same for the encoder.
CLI::Option* AddEncoder(CLI::App& app, std::string& address);
// --ca, --cert, --key, --tls-name and --token-file: for whichever addresses the command has.
void AddAccess(CLI::App& app, Access& access);
// A file that is there, or kStream.
CLI::Validator FileOrStream();
// --budget: rows per picture; 0 where it is not given.
CLI::Option* AddBudget(CLI::App& app, uint32_t& budget);
// --budget, of videos, too, --frames and --no-sound.
void AddMediaOptions(CLI::App& app, MediaOptions& options);

// --backend, --devices and --tensor-parallel of the services that a command starts; where they go
// only with another option, that is `needs`.
void AddBackend(CLI::App& app, ServicesOptions& services, CLI::Option* needs = nullptr);

// Breaks long descriptions into lines.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_option_desc(const CLI::Option* option) const override;
};

}  // namespace softsplice
