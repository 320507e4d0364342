#include "deploy/cli/prompt.h"

#include <iostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "deploy/cli/client.h"
#include "deploy/cli/files.h"
#include "deploy/cli/suggestion.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

constexpr char kHelp[] = R"(Type a message and press Enter; a paste of several lines is one message.
  """           begins a message of several lines, and ends it
  /image FILE   add a picture to the next message
  /audio FILE   add a sound
  /video FILE   add a video
  /soft FILE    add soft tokens made by `softsplice encode`
  /reset        start again with an empty conversation
  /quit         leave, as Ctrl-D does
Tab completes names of files. Ctrl-C ends an answer, or clears the line.
)";
constexpr absl::string_view kBlock = "\"\"\"";

struct FileCommand {
  absl::string_view name;
  FileKind kind;
  absl::string_view use;
};
constexpr FileCommand kFileCommands[] = {
    {"/image", FileKind::kImage, "a picture"},
    {"/audio", FileKind::kAudio, "a sound"},
    {"/video", FileKind::kVideo, "a video"},
    {"/soft", FileKind::kSoft, "soft tokens made by `softsplice encode`"},
};

const std::vector<std::string>& CommandNames() {
  static const auto* names = new std::vector<std::string>{"/audio", "/help", "/image", "/quit",
                                                          "/reset", "/soft", "/video"};
  return *names;
}

Completion CompleteCommand(absl::string_view typed) {
  Completion completion = {.text = std::string(typed)};
  for (const std::string& name : CommandNames()) {
    if (absl::StartsWith(name, typed)) completion.choices.push_back(name);
  }
  if (completion.choices.size() == 1) {
    completion.text = absl::StrCat(completion.choices.front(), " ");
    completion.choices.clear();
  }
  return completion;
}

Completion CompleteLine(absl::string_view typed) {
  for (const FileCommand& command : kFileCommands) {
    absl::string_view path = typed;
    if (!absl::ConsumePrefix(&path, command.name) || !absl::StartsWith(path, " ")) continue;
    path = absl::StripLeadingAsciiWhitespace(path);
    Completion completion = CompletePath(path);
    completion.text = absl::StrCat(typed.substr(0, typed.size() - path.size()), completion.text);
    return completion;
  }
  if (absl::StartsWith(typed, "/") && !absl::StrContains(typed, ' ')) return CompleteCommand(typed);
  return {.text = std::string(typed)};
}

void Say(absl::string_view text) { std::cerr << DimForStderr(text) << std::endl; }

}  // namespace

v1::Message UserMessage(std::vector<v1::Part> media, const std::string& text) {
  v1::Message message;
  message.set_role(v1::ROLE_USER);
  for (v1::Part& part : media) *message.add_parts() = std::move(part);
  if (!text.empty()) message.add_parts()->set_text(text);
  return message;
}

Prompt::Prompt(Conversation& conversation, const MediaOptions& media_options,
               Interrupts& interrupts)
    : conversation_(conversation),
      media_options_(media_options),
      interrupts_(interrupts),
      editor_(interrupts, CompleteLine) {
  if (StderrIsTerminal()) std::cerr << DimForStderr(kHelp);
}

void Prompt::Add(const MediaFile& file, v1::Part part) {
  Say(SayAdded(file, part, interrupts_));
  media_.push_back(std::move(part));
}

int Prompt::Run() {
  int exit_code = kExitOk;
  for (;;) {
    std::string message;
    const Next next = Read(message);
    if (next == Next::kEnd) return interrupts_.terminated() ? kExitInterrupted : exit_code;
    if (next == Next::kAgain || (message.empty() && media_.empty())) continue;
    const int result = conversation_.Ask(UserMessage(std::exchange(media_, {}), message));
    if (result == kExitFailed) exit_code = result;
    if (conversation_.mute()) return exit_code;
    interrupts_.Clear();
  }
}

// A command is carried out, and is no message.
Prompt::Next Prompt::Read(std::string& message) {
  std::string line;
  switch (editor_.Read("> ", line)) {
    case LineEditor::End::kEndOfInput:
      return Next::kEnd;
    case LineEditor::End::kInterrupted:
      if (interrupts_.terminated()) return Next::kEnd;
      interrupts_.Clear();
      Say("Ctrl-D or /quit leaves.");
      return Next::kAgain;
    case LineEditor::End::kLine:
      break;
  }
  message = std::string(absl::StripAsciiWhitespace(line));
  if (absl::StartsWith(message, kBlock)) return ReadBlock(message);
  if (message == "/quit") return Next::kEnd;
  const bool command = absl::StartsWith(message, "/") && !absl::StrContains(message, '\n');
  if (command) Command(message);
  return command ? Next::kAgain : Next::kMessage;
}

// `message` is what came so far, from the marks that begin it on.
Prompt::Next Prompt::ReadBlock(std::string& message) {
  message.erase(0, kBlock.size());
  while (!absl::EndsWith(message, kBlock)) {
    std::string line;
    const LineEditor::End end = editor_.Read("... ", line);
    if (end == LineEditor::End::kEndOfInput) return Next::kEnd;
    if (end == LineEditor::End::kInterrupted) {
      if (interrupts_.terminated()) return Next::kEnd;
      interrupts_.Clear();
      return Next::kAgain;
    }
    absl::StrAppend(&message, message.empty() ? "" : "\n",
                    absl::StripTrailingAsciiWhitespace(line));
  }
  message.resize(message.size() - kBlock.size());
  absl::StripAsciiWhitespace(&message);
  return Next::kMessage;
}

void Prompt::Command(absl::string_view line) {
  const absl::string_view name = line.substr(0, line.find(' '));
  const absl::string_view rest = absl::StripAsciiWhitespace(line.substr(name.size()));
  for (const FileCommand& command : kFileCommands) {
    if (name != command.name) continue;
    if (rest.empty()) {
      return PrintMessage(
          absl::StrCat(name, " FILE adds ", command.use, " to the next message; Tab completes"));
    }
    if (rest == kStream) {
      return PrintMessage(
          absl::StrCat("standard input is this conversation; ", name, " takes a file"));
    }
    const MediaFile file = {.kind = command.kind, .path = TypedPath(rest)};
    absl::StatusOr<v1::Part> part = MediaPart(file, media_options_, interrupts_);
    if (part.ok()) return Add(file, *std::move(part));
    return PrintMessage(part.status().message());
  }
  if (line == "/help") {
    std::cerr << kHelp;
  } else if (line == "/reset") {
    conversation_.Reset();
    media_.clear();
  } else {
    PrintMessage(absl::StrCat("unknown command ", PrintableText(name),
                              DidYouMean(name, CommandNames()), "; /help lists them"));
  }
}

}  // namespace softsplice
