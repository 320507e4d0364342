#include "common/server/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <initializer_list>

namespace softsplice {
namespace {

// A signal handler can't be handed anything: this is what it knows.
volatile std::sig_atomic_t armed = 0;
volatile std::sig_atomic_t noted = 0;
volatile std::sig_atomic_t late_exit_code = 0;
int event_fd = -1;

void OnSignal(int signal) {
  if (!armed || noted) _exit(128 + signal);
  noted = 1;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd, &one, sizeof(one));
}

void OnAlarm(int /*signal*/) { _exit(late_exit_code); }

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigaction(signal, &action, nullptr);
}

bool IsIgnored(int signal) {
  struct sigaction action = {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

void HandleStops(void (*handler)(int)) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    if (signal != SIGHUP || !IsIgnored(signal)) Handle(signal, handler);
  }
}

void SetAlarm(absl::Duration limit) {
  const itimerval once = {.it_value = absl::ToTimeval(limit)};
  setitimer(ITIMER_REAL, &once, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  armed = 0;
  noted = 0;
  HandleStops(OnSignal);
  Handle(SIGALRM, OnAlarm);
  Handle(SIGPIPE, SIG_IGN);
}

StopSignal::~StopSignal() {
  SetAlarm(absl::ZeroDuration());
  HandleStops(SIG_DFL);
  close(event_fd);
}

void StopSignal::Arm() { armed = 1; }

bool StopSignal::Disarm() {
  armed = 0;
  return noted != 0;
}

bool StopSignal::Wait(absl::Duration limit) {
  pollfd event = {.fd = event_fd, .events = POLLIN};
  poll(&event, 1, static_cast<int>(absl::ToInt64Milliseconds(limit)));
  return noted != 0;
}

void StopSignal::ExitWithin(absl::Duration limit, int exit_code) {
  late_exit_code = exit_code;
  SetAlarm(limit);
}

}  // namespace softsplice
