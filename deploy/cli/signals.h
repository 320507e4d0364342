// Ctrl-C and SIGTERM as something the program can wait for and act on, instead of its end.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace softsplice {

// Make one, first thing in main: it blocks the signals for every thread that starts later.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Whether a signal came since the last Clear.
  bool raised() const { return raised_; }
  // Whether one of them asked for the program's end (SIGTERM, SIGHUP) and not just for a stop.
  bool terminated() const { return terminated_; }
  // Forgets a Ctrl-C that was dealt with.
  void Clear();
  // Readable while raised(): for poll.
  int fd() const { return event_; }
  // `action` runs on the watching thread at each signal, until it is replaced; empty: none.
  void OnRaise(std::function<void()> action);

 private:
  void Watch();

  int event_;
  std::atomic<bool> raised_ = false;
  std::atomic<bool> terminated_ = false;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::function<void()> action_;  // guarded by mutex_
  std::thread thread_;
};

// Gives a forked child the default signals back. Async-signal-safe.
void RestoreSignals();

}  // namespace softsplice
