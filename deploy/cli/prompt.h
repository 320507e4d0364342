// The interactive conversation of `softsplice chat`.
#pragma once

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
  Prompt(Conversation& conversation, const MediaOptions& media_options, Interrupts& interrupts);

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
  const MediaOptions media_options_;
  Interrupts& interrupts_;
  LineEditor editor_;
  std::vector<v1::Part> media_;  // of the next message
};

}  // namespace softsplice
