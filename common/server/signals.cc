#include "common/server/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <initializer_list>

namespace softsplice {
namespace {

// A signal handler can't be handed anything: this is what it knows.
volatile std::sig_atomic_t armed = 0;
volatile std::sig_atomic_t noted = 0;
int event_fd = -1;

void OnSignal(int signal) {
  if (!armed || noted) _exit(128 + signal);
  noted = 1;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd, &one, sizeof(one));
}

void Handle(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  for (const int signal : {SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  armed = 0;
  noted = 0;
  Handle(OnSignal);
}

StopSignal::~StopSignal() {
  Handle(SIG_DFL);
  close(event_fd);
}

void StopSignal::Arm() { armed = 1; }

bool StopSignal::Wait(absl::Duration limit) {
  pollfd event = {.fd = event_fd, .events = POLLIN};
  poll(&event, 1, static_cast<int>(absl::ToInt64Milliseconds(limit)));
  return noted != 0;
}

}  // namespace softsplice
