// A decoder service and, where there is an mmproj, its encoder as children of this program:
// started, waited for, watched, stopped.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deploy/cli/process.h"
#include "deploy/cli/run_folder.h"
#include "deploy/cli/signals.h"
#include "deploy/cli/terminal.h"

namespace softsplice {

struct ServicesOptions {
  std::string model;
  std::string mmproj;          // empty: no encoder, text only
  std::string listen;          // the decoder's address; empty: a socket of this run only
  std::string encoder_listen;  // the encoder's; empty: a socket of this run only
  int threads = 0;             // 0: the services' own choice
  std::string backend;         // empty: the services' own choice
  // GPUs: the decoder's, then the encoder's; where there are no more, the last one is for both.
  // Empty: the services' own choice.
  std::vector<int> devices;
  int tensor_parallel = 1;  // so many are the decoder's
  int context = 0;          // 0: the decoder's own choice
  bool verbose = false;     // logs go to stderr instead of files
};

// Not thread-safe.
class Services {
 public:
  // Starts both and returns when both are healthy and the decoder knows it. FAILED_PRECONDITION:
  // the files are no pair, both are to have one address, an address is taken, or a service ended;
  // then the message has the last lines of its log. CANCELLED: a signal came meanwhile.
  static absl::StatusOr<std::unique_ptr<Services>> Start(const ServicesOptions& options,
                                                         Interrupts& interrupts);
  // Stops both in order, the decoder first; a signal meanwhile ends them at once.
  ~Services();

  const std::string& decoder_address() const { return decoder_.address; }
  const std::string& encoder_address() const { return encoder_.address; }  // empty: none
  // Holds the services' logs, for as long as this object lives.
  const std::string& log_folder() const { return folder_->path(); }

  // OK while both run; else which one ended and how, with the last lines of its log.
  absl::Status Check();

 private:
  struct Service {
    std::string name;
    std::string address = "";
    std::string file = "";  // what it loads, for people
    std::unique_ptr<Child> child = nullptr;
  };

  explicit Services(Interrupts& interrupts) : interrupts_(interrupts) {}
  absl::Status Launch(const ServicesOptions& options);
  absl::Status Run(Service& service, std::vector<std::string> arguments, bool verbose);
  absl::Status WaitUntilReady();
  // With a line that says how far loading has come.
  absl::Status WaitUntil(absl::FunctionRef<bool()> done, Progress& progress);
  std::string Loading();
  std::vector<Service*> Started();

  Interrupts& interrupts_;
  std::optional<RunFolder> folder_;
  Service encoder_{.name = "softsplice-encoder"};
  Service decoder_{.name = "softsplice-decoder"};
};

}  // namespace softsplice
