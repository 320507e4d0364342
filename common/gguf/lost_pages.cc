// See lost_pages.h.
#include "common/gguf/lost_pages.h"

#include <signal.h>
#include <unistd.h>

#include <cstring>

namespace softsplice::gguf {
namespace {

const char* program_name = "";
int lost_exit_code = 1;

void Write(const char* text) { (void)!write(STDERR_FILENO, text, std::strlen(text)); }

// Only what a signal handler may call.
void OnBusError(int /*signal*/) {
  Write(program_name);
  Write(
      ": a page of a mapped file is gone: the model file was cut while it was in use, or its "
      "disk fails\n");
  _exit(lost_exit_code);
}

}  // namespace

void EndOnLostPages(const char* program, int exit_code) {
  program_name = program;
  lost_exit_code = exit_code;
  struct sigaction action = {};
  action.sa_handler = OnBusError;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace softsplice::gguf
