// `softsplice`: the command line over both services and the model files.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "deploy/cli/bench/bench.h"
#include "deploy/cli/chat.h"
#include "deploy/cli/client.h"
#include "deploy/cli/encode.h"
#include "deploy/cli/info.h"
#include "deploy/cli/inspect.h"
#include "deploy/cli/options.h"
#include "deploy/cli/signals.h"
#include "deploy/cli/terminal.h"
#include "deploy/cli/up.h"

namespace softsplice {
namespace {

void AddInspect(CLI::App& app, int& exit_code) {
  auto* inspect = app.add_subcommand(
      "inspect", "What a GGUF file holds, what it is good for, what memory it takes");
  const auto files = std::make_shared<std::vector<std::string>>();
  const auto json = std::make_shared<bool>(false), memory = std::make_shared<bool>(false),
             tensors = std::make_shared<bool>(false);
  inspect
      ->add_option("file", *files,
                   "The file, any part of a split one; with a second one, a text model and its "
                   "mmproj, whether they go together")
      ->option_text("FILE [FILE] (required)")
      ->required()
      ->expected(1, 2)
      ->check(CLI::ExistingFile);
  auto* all = inspect->add_flag("--tensors", *tensors, "All metadata and tensors, too");
  auto* as_json = inspect->add_flag("--json", *json, "One JSON object on stdout");
  inspect
      ->add_flag("--memory", *memory,
                 "Only a number: the bytes of memory that its service needs on a CPU, with its "
                 "default options, to start. What clients may take comes on top of it")
      ->excludes(as_json)
      ->excludes(all);
  inspect->footer(R"(
Examples:
  softsplice inspect gemma-4-E4B-it-Q4_0.gguf
  softsplice inspect gemma-4-E4B-it-Q4_0.gguf mmproj-gemma-4-E4B-it-F16.gguf
  softsplice inspect --memory gemma-4-E4B-it-Q4_0.gguf

Exits with 1 when a file can't be read or served, or two don't go together.)");
  inspect->callback([=, &exit_code] {
    const InspectAs as = *json      ? InspectAs::kJson
                         : *memory  ? InspectAs::kMemory
                         : *tensors ? InspectAs::kTensors
                                    : InspectAs::kSummary;
    const absl::StatusOr<bool> servable = Inspect(*files, as, std::cout);
    exit_code = !servable.ok() ? ReportFailure(servable.status(), *json)
                : *servable    ? kExitOk
                               : kExitFailed;
  });
}

int Run(int argc, char** argv) {
  Interrupts interrupts;
  int exit_code = kExitOk;
  CLI::App app(
      "Gemma 4 with pictures and sounds: an encoder and a decoder service, and this command for "
      "both",
      "softsplice");
  app.set_version_flag("--version", "softsplice " SOFTSPLICE_VERSION);
  app.require_subcommand(1);
  app.formatter(std::make_shared<HelpFormatter>());
  AddUp(app, interrupts, exit_code);
  AddChat(app, interrupts, exit_code);
  AddEncode(app, interrupts, exit_code);
  AddInfo(app, interrupts, exit_code);
  AddInspect(app, exit_code);
  AddBench(app, interrupts, exit_code);
  app.footer(R"(
Start here:
  softsplice up --model TEXT.gguf --mmproj MMPROJ.gguf
  softsplice chat --image photo.jpg "What is in this picture?"
`softsplice COMMAND --help` explains a command.

Exit codes: 0 all well; 1 the request failed; 2 wrong usage; 3 a service can't be reached or
started; 130 interrupted.)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return exit_code;
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  try {
    return softsplice::Run(argc, argv);
  } catch (const std::exception& error) {
    softsplice::PrintMessage(error.what());
    return softsplice::kExitFailed;
  }
}
