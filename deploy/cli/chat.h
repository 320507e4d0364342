// `softsplice chat`: a question, or a conversation, with media; answers are streamed.
#pragma once

#include <CLI/CLI.hpp>

#include "deploy/cli/signals.h"

namespace softsplice {

// Adds the command to `app`; when it is called it sets `exit_code`.
void AddChat(CLI::App& app, Interrupts& interrupts, int& exit_code);

}  // namespace softsplice
