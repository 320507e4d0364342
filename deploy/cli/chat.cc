#include "deploy/cli/chat.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "common/text/utf8.h"
#include "deploy/cli/client.h"
#include "deploy/cli/conversation.h"
#include "deploy/cli/files.h"
#include "deploy/cli/media.h"
#include "deploy/cli/options.h"
#include "deploy/cli/prompt.h"
#include "deploy/cli/services.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

struct ChatOptions {
  ServicesOptions services;  // model empty: talk to the conversation's server
  std::vector<MediaFile> media;
  std::string system;
  std::string prompt;  // kStream: standard input
  MediaOptions media_options;
  ConversationOptions conversation;
};

bool TakesStdin(const MediaFile& file) { return file.path == kStream; }

// Standard input as a message, or in front of a question.
absl::StatusOr<std::string> StdinText(Interrupts& interrupts) {
  const Progress progress("reading standard input");
  ASSIGN_OR_RETURN(std::string text, ReadFile(kStream, interrupts));
  if (ToUtf8(text) != text) {
    return absl::InvalidArgumentError(
        "standard input is no text in UTF-8; say what it is with --image -, --audio - or --video "
        "-");
  }
  absl::StripTrailingAsciiWhitespace(&text);
  return text;
}

// What is asked, the words of standard input included.
absl::StatusOr<v1::Message> Question(const ChatOptions& options, std::vector<v1::Part> media,
                                     Interrupts& interrupts) {
  std::vector<std::string> texts;
  const bool asked = options.prompt != kStream;
  const bool piped = StdinIsPiped() && absl::c_none_of(options.media, TakesStdin);
  if (piped || !asked) {
    ASSIGN_OR_RETURN(std::string text, StdinText(interrupts));
    if (!text.empty()) texts.push_back(std::move(text));
  }
  if (asked) texts.push_back(options.prompt);
  if (texts.empty() && media.empty()) {
    return absl::InvalidArgumentError("standard input is empty, and there is no question");
  }
  return UserMessage(std::move(media), absl::StrJoin(texts, "\n\n"));
}

int RunChat(ChatOptions& options, Interrupts& interrupts) {
  const auto wrong = [&](const absl::Status& status) {
    const int exit_code = ReportFailure(status, options.conversation.json);
    return exit_code == kExitInterrupted ? exit_code : kExitUsage;
  };
  const bool interactive = options.prompt.empty();
  std::vector<v1::Part> media;
  for (const MediaFile& file : options.media) {
    absl::StatusOr<v1::Part> part = MediaPart(file, options.media_options, interrupts);
    if (!part.ok()) return wrong(part.status());
    media.push_back(*std::move(part));
  }
  v1::Message question;
  if (!interactive) {
    auto message = Question(options, std::exchange(media, {}), interrupts);
    if (!message.ok()) return wrong(message.status());
    question = *std::move(message);
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
  if (!interactive) options.conversation.session = false;
  Conversation conversation(*channel, options.conversation, interrupts);
  if (!interactive) return conversation.Ask(std::move(question));
  Prompt prompt(conversation, options.media_options, interrupts);
  for (size_t i = 0; i < media.size(); ++i) prompt.Add(options.media[i], std::move(media[i]));
  return prompt.Run();
}

// --image, --audio, --video and --soft, which may be mixed and repeated.
void AddMediaFiles(CLI::App& chat, const std::shared_ptr<ChatOptions>& options) {
  const auto add = [&](const char* name, FileKind kind, const char* help) {
    chat.add_option_function<std::string>(
            name,
            [options, kind](const std::string& path) {
              options->media.push_back({.kind = kind, .path = path});
            },
            help)
        ->trigger_on_parse()  // at once: in the order of the command line
        ->option_text("FILE")
        ->check(FileOrStream());
  };
  add("--image", FileKind::kImage,
      "A picture to ask about, or - for standard input; may be repeated");
  add("--audio", FileKind::kAudio,
      "A sound to ask about (WAV, FLAC, OGG, MP3, M4A, WebM), or - for standard input; may be "
      "repeated");
  add("--video", FileKind::kVideo,
      "A video to ask about (MP4, MOV, WebM, Matroska), or - for standard input; may be repeated");
  add("--soft", FileKind::kSoft,
      "A picture, sound or video as `softsplice encode` wrote it; may be repeated");
}

// Standard input can be one medium, and not the words at the same time.
void CheckStdin(const ChatOptions& options) {
  const auto piped = absl::c_count_if(options.media, TakesStdin);
  if (piped > 1) throw CLI::ValidationError("-", "standard input can be given once");
  if (piped > 0 && (options.prompt.empty() || options.prompt == kStream)) {
    throw CLI::ValidationError(
        "-", "standard input is a medium and needs the question on the command line");
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
  auto* chat =
      app.add_subcommand("chat", "Ask a question, or talk, with pictures, sounds and videos");
  const auto options = std::make_shared<ChatOptions>();
  chat->add_option("prompt", options->prompt,
                   "The question; - for standard input; without one, a conversation");
  AddMediaFiles(*chat, options);
  chat->add_option("--system", options->system, "A system turn, before all others")
      ->option_text("TEXT");
  chat->add_flag_callback(
      "--think", [options] { options->conversation.request.mutable_chat()->set_thinking(true); },
      "Let the model think first; thoughts go to stderr");
  AddMediaOptions(*chat, options->media_options);
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
                   "… and this encoder of pictures, sounds and videos, for this command only")
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
  softsplice chat --video clip.mp4 "What happens here, and what is said?"
  softsplice chat --video clip.mp4 --frames 8 --no-sound "What is shown?"
  softsplice chat "Summarise this." < notes.txt
  arecord -d 5 -f S16_LE -r 16000 | softsplice chat --audio - "What is said?"
  softsplice chat --system "Answer in French." --think --temperature 0 "What is 7 times 8?"
  softsplice chat --model text.gguf --mmproj mmproj.gguf --image photo.jpg "Describe this."
  softsplice chat                                (a conversation; /help inside)

Media come before the words, in the order given; so does the text on standard input,
where that is no terminal (< /dev/null keeps it out). Ctrl-C ends the answer.
With --json each line is a GenerateResponse of proto/softsplice/v1/decoder.proto (started, delta,
finished), or {"error": {code, message, reason, field, retry_seconds, hint}}.)");
  chat->callback([=, &interrupts, &exit_code] {
    if (options->prompt.empty() && isatty(STDIN_FILENO) == 0) options->prompt = kStream;
    CheckStdin(*options);
    exit_code = RunChat(*options, interrupts);
  });
}

}  // namespace softsplice
