// What the command line writes to a person: progress lines, dimmed text. All of it falls back to
// plain text when there is no terminal.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace softsplice {

bool StdoutIsTerminal();
bool StderrIsTerminal();

// `text` in the terminal's dim style; as it is when stderr is no terminal or NO_COLOR is set.
std::string DimForStderr(absl::string_view text);

// `text` without what could steer a terminal or turn its lines around: control characters (line
// breaks and tabs stay), and marks that override or isolate a direction of writing. What is no
// UTF-8 reads as U+FFFD.
std::string PrintableText(absl::string_view text);

// `text` goes to stdout, printable if that is a terminal. FAILED_PRECONDITION and the like: it did
// not, since the reader is gone or the disk is full; says so.
absl::Status PrintAnswer(absl::string_view text);

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

}  // namespace softsplice
