#include "deploy/cli/terminal.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/text/utf8.h"

namespace softsplice {
namespace {

constexpr char kWipeLine[] = "\r\x1b[K";

bool SteersTerminal(char32_t c) {
  const bool control = (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
  return control || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

}  // namespace

bool StdoutIsTerminal() { return isatty(STDOUT_FILENO) != 0; }
bool StderrIsTerminal() { return isatty(STDERR_FILENO) != 0; }

std::string DimForStderr(absl::string_view text) {
  static const bool styled = StderrIsTerminal() && getenv("NO_COLOR") == nullptr;
  return styled ? absl::StrCat("\x1b[2m", text, "\x1b[0m") : std::string(text);
}

std::string PrintableText(absl::string_view text) {
  const std::string valid = ToUtf8(text);
  std::string printable;
  for (absl::string_view rest = valid; !rest.empty();) {
    const Utf8Char next = NextUtf8(rest);
    if (!SteersTerminal(next.code)) printable.append(rest.data(), next.bytes);
    rest.remove_prefix(next.bytes);
  }
  return printable;
}

absl::Status PrintAnswer(absl::string_view text) {
  std::cout << (StdoutIsTerminal() ? PrintableText(text) : std::string(text)) << std::flush;
  if (std::cout) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "can't write the answer");
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

}  // namespace softsplice
