#include "deploy/cli/chat.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"
#include "deploy/cli/client.h"
#include "deploy/cli/conversation.h"
#include "deploy/cli/media.h"
#include "deploy/cli/options.h"
#include "deploy/cli/services.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

enum class FileKind { kImage, kAudio, kSoft };

// In the order of the command line.
struct MediaFile {
  FileKind kind = FileKind::kImage;
  std::string path;
};

struct ChatOptions {
  ServicesOptions services;  // model empty: talk to the conversation's server
  std::vector<MediaFile> media;
  std::string system;
  std::string prompt;
  bool interactive = false;
  uint32_t budget = 0;
  ConversationOptions conversation;
};

constexpr char kInteractiveHelp[] = R"(Type a message and press Enter.
  /image FILE   add a picture to the next message
  /audio FILE   add a sound
  /soft FILE    add soft tokens made by `softsplice encode`
  /reset        start again with an empty conversation
  /quit         leave (as Ctrl-D and Ctrl-C do); during an answer Ctrl-C only ends the answer
)";

absl::StatusOr<v1::Part> MediaPart(const MediaFile& file, uint32_t budget, Interrupts& interrupts) {
  if (file.kind == FileKind::kSoft) return SoftTokensPart(file.path);
  if (file.kind == FileKind::kAudio) return SoundPart(file.path, interrupts);
  return PicturePart(file.path, budget);
}

v1::Message UserMessage(std::vector<v1::Part> media, const std::string& text) {
  v1::Message message;
  message.set_role(v1::ROLE_USER);
  for (v1::Part& part : media) *message.add_parts() = std::move(part);
  if (!text.empty()) message.add_parts()->set_text(text);
  return message;
}

// The lines of an interactive conversation.
class Prompt {
 public:
  Prompt(Conversation& conversation, const ChatOptions& options, Interrupts& interrupts)
      : conversation_(conversation),
        options_(options),
        interrupts_(interrupts),
        reader_(interrupts) {}

  // Returns the exit code of the last failure on a pipe, where nobody could react to it.
  int Run(std::vector<v1::Part> media) {
    media_ = std::move(media);
    int exit_code = kExitOk;
    while (const std::optional<std::string> line = reader_.Read("> ")) {
      const std::string text(absl::StripAsciiWhitespace(*line));
      if (text == "/quit") return exit_code;
      if (absl::StartsWith(text, "/")) {
        Command(text);
      } else if (!text.empty() || !media_.empty()) {
        const int result = conversation_.Ask(UserMessage(std::exchange(media_, {}), text));
        if (result == kExitFailed) exit_code = result;
        interrupts_.Clear();
      }
    }
    return interrupts_.raised() ? kExitInterrupted : exit_code;
  }

 private:
  void Command(absl::string_view line) {
    if (line == "/help") {
      std::cerr << kInteractiveHelp;
    } else if (line == "/reset") {
      conversation_.Reset();
      media_.clear();
    } else if (absl::ConsumePrefix(&line, "/image ")) {
      Add({.kind = FileKind::kImage, .path = Unquoted(line)});
    } else if (absl::ConsumePrefix(&line, "/audio ")) {
      Add({.kind = FileKind::kAudio, .path = Unquoted(line)});
    } else if (absl::ConsumePrefix(&line, "/soft ")) {
      Add({.kind = FileKind::kSoft, .path = Unquoted(line)});
    } else {
      PrintMessage(absl::StrCat("unknown command ", line, "; /help lists them"));
    }
  }

  // A file dragged into a terminal comes in quotes.
  static std::string Unquoted(absl::string_view path) {
    path = absl::StripAsciiWhitespace(path);
    for (const char* quote : {"'", "\""}) {
      if (path.size() > 1 && absl::StartsWith(path, quote) && absl::EndsWith(path, quote)) {
        return std::string(path.substr(1, path.size() - 2));
      }
    }
    return std::string(path);
  }

  void Add(const MediaFile& file) {
    if (file.kind == FileKind::kAudio && file.path == kStdin) {
      return PrintMessage("standard input is this conversation; /audio takes a file");
    }
    absl::StatusOr<v1::Part> part = MediaPart(file, options_.budget, interrupts_);
    if (part.ok()) {
      media_.push_back(*std::move(part));
    } else {
      PrintMessage(part.status().message());
    }
  }

  Conversation& conversation_;
  const ChatOptions& options_;
  Interrupts& interrupts_;
  LineReader reader_;
  std::vector<v1::Part> media_;  // of the next message
};

int RunChat(ChatOptions& options, Interrupts& interrupts) {
  std::vector<v1::Part> media;
  for (const MediaFile& file : options.media) {
    absl::StatusOr<v1::Part> part = MediaPart(file, options.budget, interrupts);
    if (!part.ok()) {
      const int exit_code = ReportFailure(part.status(), options.conversation.json);
      return exit_code == kExitInterrupted ? exit_code : kExitUsage;
    }
    media.push_back(*std::move(part));
  }

  std::unique_ptr<Services> services;
  if (!options.services.model.empty()) {
    auto started = Services::Start(options.services, interrupts);
    if (!started.ok()) {
      ReportFailure(started.status(), options.conversation.json);
      return absl::IsCancelled(started.status()) ? kExitInterrupted : kExitUnreachable;
    }
    services = *std::move(started);
    options.conversation.access = {};
    options.conversation.server = services->decoder_address();
  }
  const auto channel =
      Connect(options.conversation.server, options.conversation.access, interrupts);
  if (!channel.ok()) return ReportFailure(channel.status(), options.conversation.json);

  if (!options.system.empty()) {
    v1::Message& system = *options.conversation.request.mutable_chat()->add_messages();
    system.set_role(v1::ROLE_SYSTEM);
    system.add_parts()->set_text(options.system);
  }
  // One question needs none.
  if (!options.interactive) options.conversation.session = false;
  Conversation conversation(*channel, options.conversation, interrupts);
  if (!options.interactive) {
    return conversation.Ask(UserMessage(std::move(media), options.prompt));
  }
  if (StderrIsTerminal()) std::cerr << DimForStderr(kInteractiveHelp);
  return Prompt(conversation, options, interrupts).Run(std::move(media));
}

// --image, --audio and --soft, which may be mixed and repeated.
void AddMediaFiles(CLI::App& chat, const std::shared_ptr<ChatOptions>& options) {
  const auto add = [&](const char* name, FileKind kind, const char* help,
                       const CLI::Validator& check) {
    chat.add_option_function<std::string>(
            name,
            [options, kind](const std::string& path) {
              options->media.push_back({.kind = kind, .path = path});
            },
            help)
        ->trigger_on_parse()  // at once: in the order of the command line
        ->option_text("FILE")
        ->check(check);
  };
  const CLI::Validator sound(
      [](std::string& path) { return path == kStdin ? "" : CLI::ExistingFile(path); }, "");
  add("--image", FileKind::kImage, "A picture to ask about; may be repeated", CLI::ExistingFile);
  add("--audio", FileKind::kAudio,
      "A sound to ask about (WAV, FLAC, OGG, MP3, M4A, WebM), or - for standard input; may be "
      "repeated",
      sound);
  add("--soft", FileKind::kSoft,
      "A picture or sound as `softsplice encode` wrote it; may be repeated", CLI::ExistingFile);
}

// Standard input can be one sound, and not the conversation at the same time.
void CheckStdin(const ChatOptions& options) {
  const auto piped = std::count_if(
      options.media.begin(), options.media.end(),
      [](const MediaFile& file) { return file.kind == FileKind::kAudio && file.path == kStdin; });
  if (piped > 1) throw CLI::ValidationError("--audio", "- (standard input) can be given once");
  if (piped > 0 && options.interactive) {
    throw CLI::ValidationError("--audio",
                               "- (standard input) needs the question on the command line: without "
                               "one, standard input is the conversation");
  }
}

void AddSampling(CLI::App& chat, v1::GenerateRequest& request) {
  const auto number = [&](const char* name, auto set, const char* help,
                          const CLI::Validator& check) {
    return chat.add_option_function<double>(name, set, help)
        ->check(check)
        ->option_text("X")
        ->group("Sampling");
  };
  v1::Sampling& sampling = *request.mutable_sampling();
  number(
      "--temperature", [&](double v) { sampling.set_temperature(static_cast<float>(v)); },
      "0 always takes the likeliest token (default: 1)", CLI::NonNegativeNumber);
  number(
      "--top-p", [&](double v) { sampling.set_top_p(static_cast<float>(v)); },
      "Choose among the likeliest tokens that hold this share (default: 0.95)",
      CLI::Range(0.0, 1.0));
  number(
      "--min-p", [&](double v) { sampling.set_min_p(static_cast<float>(v)); },
      "Drop tokens under this share of the likeliest one's (default: 0)", CLI::Range(0.0, 1.0));
  number(
      "--repetition-penalty",
      [&](double v) { sampling.set_repetition_penalty(static_cast<float>(v)); },
      "Above 1 makes repeating less likely (default: 1)", CLI::PositiveNumber);
  chat.add_option_function<uint32_t>(
          "--top-k", [&](uint32_t v) { sampling.set_top_k(v); },
          "Choose among this many tokens; 0 is off (default: 64)")
      ->option_text("N")
      ->group("Sampling");
  chat.add_option_function<uint64_t>(
          "--seed", [&](uint64_t v) { sampling.set_seed(v); },
          "The same seed and question give the same answer")
      ->option_text("N")
      ->group("Sampling");
  chat.add_option_function<uint32_t>(
          "--max-tokens", [&](uint32_t v) { request.set_max_tokens(v); },
          "End the answer after this many tokens")
      ->option_text("N")
      ->group("Sampling");
  chat.add_option_function<std::vector<std::string>>(
          "--stop",
          [&](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) request.add_stop(text);
          },
          "End the answer before this text; may be given several times")
      ->allow_extra_args(false)
      ->option_text("TEXT")
      ->group("Sampling");
}

}  // namespace

void AddChat(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* chat = app.add_subcommand("chat", "Ask a question, or talk, with pictures and sounds");
  const auto options = std::make_shared<ChatOptions>();
  auto* prompt = chat->add_option("prompt", options->prompt,
                                  "The question; without one, a conversation line by line");
  AddMediaFiles(*chat, options);
  chat->add_option("--system", options->system, "A system turn, before all others")
      ->option_text("TEXT");
  chat->add_flag_callback(
      "--think", [options] { options->conversation.request.mutable_chat()->set_thinking(true); },
      "Let the model think first; thoughts go to stderr");
  AddBudget(*chat, options->budget);
  ConversationOptions& conversation = options->conversation;
  chat->add_flag("--json", conversation.json, "One line of JSON per event on stdout");
  chat->add_option_function<double>(
          "--timeout",
          [&conversation](double seconds) { conversation.timeout = absl::Seconds(seconds); },
          "Seconds that one answer may take")
      ->option_text("SECONDS")
      ->check(CLI::PositiveNumber);
  conversation.session = true;
  chat->add_flag_callback(
      "--no-session", [&conversation] { conversation.session = false; },
      "Send a conversation whole with each turn, though the decoder could keep it");
  auto* server = AddServer(*chat, conversation.server);
  AddAccess(*chat, conversation.access);
  auto* model = chat->add_option("--model", options->services.model,
                                 "Without a running server: start one with this text model …")
                    ->option_text("FILE")
                    ->check(CLI::ExistingFile)
                    ->excludes(server);
  chat->add_option("--mmproj", options->services.mmproj,
                   "… and this encoder of pictures and sounds, for this command only")
      ->option_text("FILE")
      ->check(CLI::ExistingFile)
      ->needs(model);
  AddBackend(*chat, options->services, model);
  AddSampling(*chat, conversation.request);
  chat->footer(R"(
Examples:
  softsplice chat "Hello!"
  softsplice chat --image photo.jpg "What is in this picture?"
  softsplice chat --image a.png --image b.png --budget 560 "What differs?"
  softsplice chat --audio talk.mp3 "Transcribe the audio."
  arecord -d 5 -f S16_LE -r 16000 | softsplice chat --audio - "What is said?"
  softsplice chat --system "Answer in French." --think --temperature 0 "What is 7 times 8?"
  softsplice chat --model text.gguf --mmproj mmproj.gguf --image photo.jpg "Describe this."
  softsplice chat                                (a conversation; /help inside)

Pictures and sounds come before the words, in the order given. Ctrl-C ends the answer.
With --json each line is a GenerateResponse of proto/softsplice/v1/decoder.proto (started, delta,
finished), or {"error": {code, message, reason, field, retry_seconds, hint}}.)");
  chat->callback([=, &interrupts, &exit_code] {
    if (options->services.model.empty() != options->services.mmproj.empty()) {
      throw CLI::RequiresError("--model", "--mmproj");
    }
    options->interactive = prompt->count() == 0;
    CheckStdin(*options);
    exit_code = RunChat(*options, interrupts);
  });
}

}  // namespace softsplice
