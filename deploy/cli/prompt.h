// The interactive conversation of `softsplice chat`.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "deploy/cli/conversation.h"
#include "deploy/cli/line_editor.h"
#include "deploy/cli/media.h"
#include "deploy/cli/signals.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// A turn of the user's: the media first.
v1::Message UserMessage(std::vector<v1::Part> media, const std::string& text);

// Messages and commands from a terminal. Not thread-safe.
class Prompt {
 public:
  // `budget`: rows of each picture; 0: the server's default.
  Prompt(Conversation& conversation, uint32_t budget, Interrupts& interrupts);

  // Tells that the medium is there, and sends it with the next message.
  void Add(const MediaFile& file, v1::Part part);

  // Until the person leaves, a signal asks for the end, or nothing can be shown any more. Returns
  // the exit code.
  int Run();

 private:
  enum class Next { kMessage, kAgain, kEnd };
  Next Read(std::string& message);
  Next ReadBlock(std::string& message);
  void Command(absl::string_view line);

  Conversation& conversation_;
  const uint32_t budget_;
  Interrupts& interrupts_;
  LineEditor editor_;
  std::vector<v1::Part> media_;  // of the next message
};

}  // namespace softsplice
