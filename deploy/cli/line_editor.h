// Lines typed or pasted on a terminal: with editing, recall and completion (libedit), where what is
// written goes to a terminal, too.
#pragma once

#include <cwchar>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "deploy/cli/paths.h"
#include "deploy/cli/signals.h"

struct editline;
struct historyW;

namespace softsplice {

// What Tab makes of what stands before the cursor.
using Complete = std::function<Completion(absl::string_view before_cursor)>;

// Not thread-safe; one at a time.
class LineEditor {
 public:
  // A paste of more characters is cut.
  static constexpr size_t kMaxPaste = 4 << 20;

  LineEditor(Interrupts& interrupts, Complete complete);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class End { kLine, kEndOfInput, kInterrupted };
  // What is typed up to Enter, in `line`, without the line break; what is pasted keeps its own, as
  // the terminal says where a paste begins and ends (bracketed paste).
  End Read(const std::string& prompt, std::string& line);

 private:
  static int GetChar(editline* edit, wchar_t* c);
  static unsigned char OnInterrupt(editline* edit, wint_t);
  static unsigned char OnPaste(editline* edit, wint_t);
  static unsigned char OnTab(editline* edit, wint_t);
  void Bind();
  bool Fill();
  End ReadEdited(std::string& line);
  End ReadPlain(std::string& line);

  Interrupts& interrupts_;
  const Complete complete_;
  std::string prompt_;
  std::string typed_;  // bytes that were read and not used yet
  bool interrupted_ = false;
  editline* edit_ = nullptr;  // null: no editing
  historyW* history_ = nullptr;
};

}  // namespace softsplice
