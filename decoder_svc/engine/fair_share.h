// What each client has had of the engine, so that the one who had least goes first. After VTC:
// Sheng, Cao, Li, Zhu, Li, Zhuo, Gonzalez, Stoica, "Fairness in serving large language models"
// (OSDI 2024).
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace softsplice {

// Not thread-safe. A client is known by a name and has any number of sequences.
class FairShare {
 public:
  // What a row costs. A written one passes all layers and the vocabulary, a prompt's only some.
  static constexpr int64_t kPromptRow = 1;
  static constexpr int64_t kWrittenRow = 2;

  // The client has one sequence more. One that had none starts no lower than whoever is here and
  // had least: idling earns no credit.
  void Enter(const std::string& client);
  // It has one sequence less.
  void Leave(const std::string& client);
  // It was given `cost`; it has a sequence.
  void Charge(const std::string& client, int64_t cost) { clients_.at(client).spent += cost; }
  // What it has had; only the order among clients says anything. It has a sequence.
  int64_t Spent(const std::string& client) const { return clients_.at(client).spent; }
  // Of whom there is something to remember.
  size_t size() const { return clients_.size(); }

 private:
  struct Client {
    int sequences = 0;
    int64_t spent = 0;
  };
  int64_t LeastSpent() const;  // of those with sequences; 0: there are none

  absl::flat_hash_map<std::string, Client> clients_;
};

}  // namespace softsplice
