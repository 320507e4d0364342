// `softsplice`: the command line over both services and the model files.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "deploy/cli/bench/bench.h"
#include "deploy/cli/chat.h"
#include "deploy/cli/client.h"
#include "deploy/cli/encode.h"
#include "deploy/cli/info.h"
#include "deploy/cli/inspect.h"
#include "deploy/cli/options.h"
#include "deploy/cli/signals.h"
#include "deploy/cli/suggestion.h"
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
    std::ostringstream text;
    const absl::StatusOr<bool> servable = Inspect(*files, as, text);
    absl::Status status = servable.status();
    if (status.ok()) status = PrintAnswer(text.str());
    exit_code = !status.ok() ? ReportFailure(status, *json) : *servable ? kExitOk : kExitFailed;
  });
}

std::vector<std::string> Commands(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

// Names of the options that the command which was given has.
std::vector<std::string> Options(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands()) {
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames())
        names.push_back(absl::StrCat("--", name));
    }
  }
  return names;
}

// What `app` has to say of a wrong command line, and what may have been meant.
int ReportUsage(const CLI::App& app, const CLI::ParseError& error) {
  if (app.exit(error) == 0) return kExitOk;
  for (const CLI::App* command : app.get_subcommands()) {
    for (const std::string& word : command->remaining()) {
      const std::string hint = DidYouMean(word, Options(app));
      if (!hint.empty()) PrintMessage(absl::StrCat("there is no ", word, hint));
    }
  }
  return kExitUsage;
}

int Run(int argc, char** argv) {
  Interrupts interrupts;
  int exit_code = kExitOk;
  CLI::App app(
      "Gemma 4 with pictures, sounds and videos: an encoder and a decoder service, and this "
      "command for both",
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
  if (argc > 1 && !absl::StartsWith(argv[1], "-") &&
      !absl::c_linear_search(Commands(app), argv[1])) {
    PrintMessage(absl::StrCat("there is no command ", PrintableText(argv[1]),
                              DidYouMean(argv[1], Commands(app)), "; --help lists all"));
    return kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = ReportUsage(app, error);
  }
  std::cout << std::flush;
  return exit_code == kExitOk && !std::cout ? kExitFailed : exit_code;
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
