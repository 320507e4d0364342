#include "deploy/cli/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace softsplice {
namespace {

sigset_t Watched() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

}  // namespace

Interrupts::Interrupts() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  const sigset_t set = Watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  thread_ = std::thread([this] { Watch(); });
}

Interrupts::~Interrupts() {
  stop_ = true;
  thread_.join();
  close(event_);
}

void Interrupts::Clear() {
  raised_ = terminated_.load();
  uint64_t count;
  if (!raised_) (void)!read(event_, &count, sizeof(count));
}

void Interrupts::OnRaise(std::function<void()> action) {
  std::lock_guard lock(mutex_);
  action_ = std::move(action);
}

void Interrupts::Watch() {
  const sigset_t set = Watched();
  const timespec tick = {.tv_sec = 0, .tv_nsec = 50'000'000};  // how long the destructor may wait
  while (!stop_) {
    const int signal = sigtimedwait(&set, nullptr, &tick);
    if (signal < 0) continue;
    if (signal != SIGINT) terminated_ = true;
    raised_ = true;
    const uint64_t one = 1;
    (void)!write(event_, &one, sizeof(one));
    std::lock_guard lock(mutex_);
    if (action_) action_();
  }
}

void RestoreSignals() {
  signal(SIGPIPE, SIG_DFL);
  const sigset_t set = Watched();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace softsplice
