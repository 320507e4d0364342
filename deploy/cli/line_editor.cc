#include "deploy/cli/line_editor.h"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/text/utf8.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

constexpr char kMarkPastes[] = "\x1b[?2004h";
constexpr char kLeavePastes[] = "\x1b[?2004l";
constexpr absl::string_view kPasteEnd = "\x1b[201~";
constexpr wchar_t kInterruptKey = 3;  // Ctrl-C, which a terminal makes a signal of
constexpr int kMostRecalled = 1000;
constexpr size_t kMostListed = 100;

bool MarksPastes() {
  const char* name = getenv("TERM");
  return name != nullptr && *name != '\0' && absl::string_view(name) != "dumb";
}

std::wstring ToWide(absl::string_view text) {
  std::wstring wide;
  while (!text.empty()) {
    const Utf8Char next = NextUtf8(text);
    if (next.state == Utf8::kValid) wide += static_cast<wchar_t>(next.code);
    text.remove_prefix(next.bytes);
  }
  return wide;
}

std::string FromWide(std::wstring_view wide) {
  std::string text;
  char bytes[MB_LEN_MAX];
  for (const wchar_t c : wide) {
    mbstate_t state = {};
    const size_t size = wcrtomb(bytes, c, &state);
    if (size != static_cast<size_t>(-1)) text.append(bytes, size);
  }
  return text;
}

// Terminals send a carriage return for each line break of a paste.
std::string WithLineBreaks(absl::string_view pasted) {
  std::string text;
  for (size_t i = 0; i < pasted.size(); ++i) {
    const bool pair = pasted[i] == '\r' && i + 1 < pasted.size() && pasted[i + 1] == '\n';
    if (!pair) text += pasted[i] == '\r' ? '\n' : pasted[i];
  }
  return text;
}

std::wstring_view BeforeCursor(EditLine* edit) {
  const LineInfoW* line = el_wline(edit);
  return {line->buffer, static_cast<size_t>(line->cursor - line->buffer)};
}

LineEditor& Of(EditLine* edit) {
  void* editor = nullptr;
  el_wget(edit, EL_CLIENTDATA, &editor);
  return *static_cast<LineEditor*>(editor);
}

}  // namespace

LineEditor::LineEditor(Interrupts& interrupts, Complete complete)
    : interrupts_(interrupts), complete_(std::move(complete)) {
  if (!StdoutIsTerminal()) return;
  setlocale(LC_CTYPE, "C.UTF-8");  // for libedit: how wide characters are, and how to write them
  edit_ = el_init("softsplice", stdin, stdout, stderr);
  el_wset(edit_, EL_CLIENTDATA, this);
  el_set(
      edit_, EL_PROMPT, +[](EditLine* edit) { return Of(edit).prompt_.data(); });
  el_wset(edit_, EL_GETCFN, &LineEditor::GetChar);
  el_wset(edit_, EL_EDITOR, L"emacs");
  history_ = history_winit();
  HistEventW event;
  history_w(history_, &event, H_SETSIZE, kMostRecalled);
  history_w(history_, &event, H_SETUNIQUE, 1);
  el_wset(edit_, EL_HIST, history_w, history_);
  el_source(edit_, nullptr);  // ~/.editrc
  Bind();
}

LineEditor::~LineEditor() {
  if (edit_ == nullptr) return;
  el_end(edit_);
  history_wend(history_);
}

void LineEditor::Bind() {
  el_wset(edit_, EL_ADDFN, L"softsplice-interrupt", L"Ends the line", &LineEditor::OnInterrupt);
  el_wset(edit_, EL_ADDFN, L"softsplice-paste", L"Takes a paste", &LineEditor::OnPaste);
  el_wset(edit_, EL_ADDFN, L"softsplice-complete", L"Completes", &LineEditor::OnTab);
  const std::pair<const wchar_t*, const wchar_t*> bindings[] = {
      {L"^C", L"softsplice-interrupt"},    {L"\\e[200~", L"softsplice-paste"},
      {L"^I", L"softsplice-complete"},     {L"^R", L"em-inc-search-prev"},
      {L"\\e[1~", L"ed-move-to-beg"},      {L"\\e[4~", L"ed-move-to-end"},
      {L"\\e[H", L"ed-move-to-beg"},       {L"\\e[F", L"ed-move-to-end"},
      {L"\\e[3~", L"ed-delete-next-char"}, {L"\\e[1;5C", L"em-next-word"},
      {L"\\e[1;5D", L"ed-prev-word"},
  };
  for (const auto& [key, function] : bindings) el_wset(edit_, EL_BIND, key, function, nullptr);
}

LineEditor::End LineEditor::Read(const std::string& prompt, std::string& line) {
  if (edit_ == nullptr) return ReadPlain(line);
  prompt_ = prompt;
  const bool marked = MarksPastes();
  if (marked) std::cout << kMarkPastes << std::flush;
  const End end = ReadEdited(line);
  if (marked) std::cout << kLeavePastes << std::flush;
  if (end != End::kLine) std::cout << std::endl;
  return end;
}

LineEditor::End LineEditor::ReadEdited(std::string& line) {
  interrupted_ = false;
  int length = 0;
  el_set(edit_, EL_PREP_TERM, 1);  // before the prompt invites to type
  const wchar_t* typed = el_wgets(edit_, &length);
  if (typed == nullptr || length <= 0) return interrupted_ ? End::kInterrupted : End::kEndOfInput;
  HistEventW event;
  if (length > 1) history_w(history_, &event, H_ENTER, typed);
  line = FromWide({typed, static_cast<size_t>(length - 1)});
  return End::kLine;
}

LineEditor::End LineEditor::ReadPlain(std::string& line) {
  size_t end;
  while ((end = typed_.find('\n')) == std::string::npos && typed_.size() < kMaxPaste) {
    if (Fill()) continue;
    if (interrupts_.raised()) typed_.clear();
    if (typed_.empty()) return interrupts_.raised() ? End::kInterrupted : End::kEndOfInput;
    break;
  }
  line = typed_.substr(0, end);
  typed_.erase(0, end == std::string::npos ? end : end + 1);
  return End::kLine;
}

// A signal comes as a key, so that the cursor can go to the end of what was typed before the line
// is left: what is written next is not to go over it.
int LineEditor::GetChar(EditLine* edit, wchar_t* c) {
  LineEditor& self = Of(edit);
  while (!self.interrupted_) {
    const Utf8Char next =
        self.typed_.empty() ? Utf8Char{.state = Utf8::kIncomplete} : NextUtf8(self.typed_);
    if (next.state == Utf8::kIncomplete) {
      if (self.Fill()) continue;
      *c = kInterruptKey;
      return self.interrupts_.raised() ? 1 : 0;
    }
    self.typed_.erase(0, next.bytes);
    *c = static_cast<wchar_t>(next.code);
    if (next.state == Utf8::kValid) return 1;
  }
  return -1;
}

// More of what was typed. False at its end, and when a signal came.
bool LineEditor::Fill() {
  char block[4096];
  while (!interrupts_.raised()) {
    pollfd inputs[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                       {.fd = interrupts_.fd(), .events = POLLIN}};
    if (poll(inputs, 2, -1) < 0 || inputs[1].revents != 0) continue;
    const ssize_t got = read(STDIN_FILENO, block, sizeof(block));
    if (got > 0) typed_.append(block, static_cast<size_t>(got));
    return got > 0;
  }
  return false;
}

unsigned char LineEditor::OnInterrupt(EditLine* edit, wint_t) {
  LineEditor& self = Of(edit);
  const LineInfoW* line = el_wline(edit);
  el_cursor(edit, static_cast<int>(line->lastchar - line->cursor));
  self.typed_.clear();
  self.interrupted_ = true;
  return CC_CURSOR;
}

unsigned char LineEditor::OnPaste(EditLine* edit, wint_t) {
  LineEditor& self = Of(edit);
  std::string pasted;
  const auto take = [&](size_t bytes, size_t skipped) {
    pasted.append(self.typed_, 0, std::min(bytes, kMaxPaste - pasted.size()));
    self.typed_.erase(0, bytes + skipped);
  };
  size_t end;
  while ((end = self.typed_.find(kPasteEnd.data())) == std::string::npos) {
    // Its end may have begun.
    if (self.typed_.size() > kPasteEnd.size()) take(self.typed_.size() - kPasteEnd.size(), 0);
    if (!self.Fill()) return CC_NORM;
  }
  take(end, kPasteEnd.size());
  el_winsertstr(edit, ToWide(PrintableText(WithLineBreaks(pasted))).c_str());
  return CC_REFRESH;
}

unsigned char LineEditor::OnTab(EditLine* edit, wint_t) {
  const std::wstring_view before = BeforeCursor(edit);
  const Completion completion = Of(edit).complete_(FromWide(before));
  el_wdeletestr(edit, static_cast<int>(before.size()));
  el_winsertstr(edit, ToWide(completion.text).c_str());
  if (completion.choices.empty()) return CC_REFRESH;
  std::string list = "\n";
  for (size_t i = 0; i < std::min(completion.choices.size(), kMostListed); ++i) {
    absl::StrAppend(&list, PrintableText(completion.choices[i]), "\n");
  }
  if (completion.choices.size() > kMostListed) {
    absl::StrAppend(&list, "... and ", completion.choices.size() - kMostListed, " more\n");
  }
  std::cout << list << std::flush;
  el_wset(edit, EL_REFRESH);
  return CC_NORM;
}

}  // namespace softsplice
