#include "deploy/cli/up.h"

#include <iostream>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "deploy/cli/client.h"
#include "deploy/cli/options.h"
#include "deploy/cli/services.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

// `address` as grpcurl takes it.
std::string GrpcurlTarget(const std::string& address) {
  absl::string_view path = address;
  if (absl::ConsumePrefix(&path, "unix:")) return absl::StrCat("-unix ", path);
  return address;
}

void PrintWelcome(const ServicesOptions& options, const Services& services) {
  const std::string& decoder = services.decoder_address();
  const bool media = !options.mmproj.empty();
  const std::string server = decoder == DecoderSocket() ? "" : absl::StrCat(" --server ", decoder);
  std::cout << "softsplice is up.\n"
            << "  decoder  " << decoder << "\n"
            << "  encoder  "
            << (media ? services.encoder_address() : "none: text only; --mmproj gives it one")
            << "\n";
  if (!options.verbose) std::cout << "  logs     " << services.log_folder() << "\n";
  std::cout << "Try in another terminal:\n"
            << "  softsplice chat" << server << " \"Hello!\"\n";
  if (media) {
    std::cout << "  softsplice chat" << server
              << " --image photo.jpg \"What is in this picture?\"\n"
              << "  softsplice chat" << server << " --audio talk.mp3 \"Transcribe the audio.\"\n";
  }
  std::cout << "  grpcurl -plaintext " << GrpcurlTarget(decoder)
            << " softsplice.v1.DecoderService/GetDecoderInfo\n"
            << "  python:  grpc.insecure_channel(\"" << decoder << "\")\n"
            << (media ? "Ctrl-C stops both services." : "Ctrl-C stops it.") << std::endl;
}

// There is no command that fetches them: the files are large, and their licence is to be agreed to.
constexpr char kWhereModelsAre[] =
    R"(--model is required: the text model, a GGUF file. Its --mmproj, another one, is for
pictures, sounds and videos. Neither is part of Softsplice. On Hugging Face, for example, both
are in
  ggml-org/gemma-4-E4B-it-GGUF           gemma-4-E4B-it-Q4_0.gguf and
                                         mmproj-gemma-4-E4B-it-Q8_0.gguf
  google/gemma-4-E4B-it-qat-q4_0-gguf    gemma-4-E4B_q4_0-it.gguf and
                                         gemma-4-E4B-it-mmproj.gguf
(E2B, under the same names with E2B for E4B, is smaller and faster) and then
  softsplice up --model gemma-4-E4B-it-Q4_0.gguf --mmproj mmproj-gemma-4-E4B-it-Q8_0.gguf)";

int RunUp(ServicesOptions options, Interrupts& interrupts) {
  if (options.listen.empty()) options.listen = DecoderSocket();
  if (options.encoder_listen.empty()) options.encoder_listen = EncoderSocket();
  const auto services = Services::Start(options, interrupts);
  if (!services.ok()) {
    ReportFailure(services.status(), false);
    return absl::IsCancelled(services.status()) ? kExitInterrupted : kExitUnreachable;
  }
  PrintWelcome(options, **services);
  while (!interrupts.raised()) {
    if (const absl::Status status = (*services)->Check(); !status.ok()) {
      ReportFailure(status, false);
      return kExitUnreachable;
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
  std::cout << "Stopping." << std::endl;
  return kExitOk;
}

}  // namespace

void AddUp(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* up = app.add_subcommand("up", "Start both services and keep them running until Ctrl-C");
  const auto options = std::make_shared<ServicesOptions>();
  up->add_option("--model", options->model, "The text model: a GGUF file")
      ->option_text("FILE (required)")
      ->check(CLI::ExistingFile);
  up->add_option(
        "--mmproj", options->mmproj,
        "That model's encoder of pictures, sounds and videos: a GGUF file; text needs none")
      ->option_text("FILE")
      ->check(CLI::ExistingFile);
  up->add_option("--listen", options->listen,
                 "The decoder's address, the one that clients talk to: host:port or unix:PATH "
                 "(default: " +
                     DecoderSocket() + ")")
      ->option_text("ADDR");
  up->add_option("--encoder-listen", options->encoder_listen,
                 "The encoder's address (default: " + EncoderSocket() + ")")
      ->option_text("ADDR");
  AddBackend(*up, *options);
  up->add_option("--threads", options->threads, "CPU threads of each service (default: all cores)")
      ->option_text("N")
      ->check(CLI::PositiveNumber);
  up->add_option("--context", options->context,
                 "Tokens that one conversation may hold (default: the decoder's own)")
      ->option_text("N")
      ->check(CLI::PositiveNumber);
  up->add_flag("--verbose", options->verbose, "Show the services' logs here");
  up->footer(R"(
Examples:
  softsplice up --model gemma-4-E4B-it-Q4_0.gguf --mmproj mmproj-gemma-4-E4B-it-F16.gguf
  softsplice up --model text.gguf --mmproj mmproj.gguf --listen 0.0.0.0:50052 \
                --encoder-listen localhost:50051

Prints how to reach the services when both are ready. Two files of different models are refused. Exits with 0 after Ctrl-C or SIGTERM, with 3
when a service can't start or ends by itself (its last log lines are shown).)");
  up->callback([options, &interrupts, &exit_code] {
    if (options->model.empty()) throw CLI::ValidationError(kWhereModelsAre);
    exit_code = RunUp(*options, interrupts);
  });
}

}  // namespace softsplice
