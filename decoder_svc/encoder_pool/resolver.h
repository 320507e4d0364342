// Finds out, again and again, which addresses a name stands for.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "decoder_svc/encoder_pool/encoder_name.h"

namespace softsplice {

// Asks the hosts file and DNS on a thread of its own, every few seconds, so that nobody waits for
// them. Thread-safe.
class Resolver {
 public:
  // Sorted and unique, at least one: IP:PORT, or [IPv6]:PORT where the name has no IPv4 address (a
  // host that has both is one encoder). UNAVAILABLE: nobody answered, or there is no such name.
  using Addresses = absl::StatusOr<std::vector<std::string>>;
  using OnAnswer = std::function<void(Addresses)>;

  // `on_answer` is called from the resolver's thread.
  Resolver(EncoderName name, OnAnswer on_answer);
  // Waits for on_answer to return, not for DNS.
  ~Resolver();

  // Asks soon; at most about once a second, however often it is called.
  void Hurry();

 private:
  void Run();
  Addresses Ask() const;
  bool stopping() const;

  const EncoderName name_;
  const OnAnswer on_answer_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool hurry_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace softsplice
