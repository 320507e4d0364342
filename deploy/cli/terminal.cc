#include "deploy/cli/terminal.h"

#include <editline/readline.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <clocale>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

constexpr char kWipeLine[] = "\r\x1b[K";

// libedit hands a finished line to a plain function; there is one reader at a time.
struct EditedLine {
  bool done = false;
  bool end_of_input = false;
  std::string text;
};
EditedLine edited_line;

void TakeLine(char* line) {
  edited_line.done = true;
  edited_line.end_of_input = line == nullptr;
  if (line == nullptr) return;
  edited_line.text = line;
  if (*line != '\0') add_history(line);
  free(line);
}

}  // namespace

bool StdoutIsTerminal() { return isatty(STDOUT_FILENO) != 0; }
bool StderrIsTerminal() { return isatty(STDERR_FILENO) != 0; }

std::string DimForStderr(absl::string_view text) {
  static const bool styled = StderrIsTerminal() && getenv("NO_COLOR") == nullptr;
  return styled ? absl::StrCat("\x1b[2m", text, "\x1b[0m") : std::string(text);
}

std::string PrintableText(absl::string_view text) {
  std::string printable;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 0x20 && byte != 0x7f) || c == '\n' || c == '\t') printable += c;
  }
  return printable;
}

void PrintMessage(absl::string_view text) {
  std::cerr << absl::StrCat("softsplice: ", text, "\n") << std::flush;
}

Progress::Progress(std::string text) : text_(std::move(text)) {
  if (StderrIsTerminal()) thread_ = std::thread([this] { Run(); });
}

void Progress::Update(std::string text) {
  std::lock_guard lock(mutex_);
  text_ = std::move(text);
}

void Progress::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Progress::Run() {
  constexpr const char* kFrames[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  // What is over at once needs no line.
  changed_.wait_for(lock, std::chrono::milliseconds(150), [this] { return stop_; });
  for (int frame = 0; !stop_; ++frame) {
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start);
    std::cerr << absl::StrCat(kWipeLine, kFrames[frame % 10], " ",
                              DimForStderr(absl::StrCat(text_, " ", seconds.count(), " s")))
              << std::flush;
    changed_.wait_for(lock, std::chrono::milliseconds(100), [this] { return stop_; });
    if (stop_) std::cerr << kWipeLine << std::flush;
  }
}

LineReader::LineReader(Interrupts& interrupts)
    : interrupts_(interrupts), edited_(isatty(STDIN_FILENO) != 0 && StdoutIsTerminal()) {
  if (!edited_) return;
  if (setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
  rl_readline_name = "softsplice";
  using_history();
}

std::optional<std::string> LineReader::Read(const std::string& prompt) {
  if (edited_) return ReadEdited(prompt);
  std::string line;
  while (!interrupts_.raised()) {
    pollfd inputs[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                       {.fd = interrupts_.fd(), .events = POLLIN}};
    if (poll(inputs, 2, -1) < 0 || inputs[1].revents != 0) continue;
    char c;
    const ssize_t got = read(STDIN_FILENO, &c, 1);
    if (got <= 0) return line.empty() ? std::nullopt : std::optional(line);
    if (c == '\n') return line;
    line += c;
  }
  return std::nullopt;
}

std::optional<std::string> LineReader::ReadEdited(const std::string& prompt) {
  edited_line = {};
  rl_callback_handler_install(prompt.c_str(), TakeLine);
  while (!edited_line.done && !interrupts_.raised()) {
    pollfd inputs[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                       {.fd = interrupts_.fd(), .events = POLLIN}};
    if (poll(inputs, 2, -1) < 0 || inputs[1].revents != 0) continue;
    rl_callback_read_char();
  }
  rl_callback_handler_remove();
  if (edited_line.done && !edited_line.end_of_input) return edited_line.text;
  std::cout << std::endl;
  return std::nullopt;
}

}  // namespace softsplice
