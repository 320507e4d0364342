// What the command line writes to and reads from a person: progress lines, dimmed text, lines with
// editing and recall. All of it falls back to plain text when there is no terminal.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/string_view.h"
#include "deploy/cli/signals.h"

namespace softsplice {

bool StdoutIsTerminal();
bool StderrIsTerminal();

// `text` in the terminal's dim style; as it is when stderr is no terminal or NO_COLOR is set.
std::string DimForStderr(absl::string_view text);

// `text` without control characters that could steer a terminal; line breaks and tabs stay.
std::string PrintableText(absl::string_view text);

// Writes one line to stderr: "softsplice: text".
void PrintMessage(absl::string_view text);

// A line on stderr that shows that something goes on and for how long; nothing when stderr is no
// terminal. It is wiped by Stop or the destructor.
class Progress {
 public:
  explicit Progress(std::string text);
  ~Progress() { Stop(); }
  void Update(std::string text);
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;   // guarded by mutex_
  bool stop_ = false;  // guarded by mutex_
  std::thread thread_;
};

// Reads lines from stdin: with editing and recall on a terminal, plainly from a pipe or file.
class LineReader {
 public:
  explicit LineReader(Interrupts& interrupts);
  // The next line without its line break. Nothing at the end of input, or when a signal came.
  std::optional<std::string> Read(const std::string& prompt);

 private:
  std::optional<std::string> ReadEdited(const std::string& prompt);

  Interrupts& interrupts_;
  const bool edited_;
};

}  // namespace softsplice
