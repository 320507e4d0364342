// `softsplice encode`: a picture, sound or video to a file of soft tokens.
#pragma once

#include <CLI/CLI.hpp>

#include "deploy/cli/signals.h"

namespace softsplice {

// Adds the command to `app`; when it is called it sets `exit_code`.
void AddEncode(CLI::App& app, Interrupts& interrupts, int& exit_code);

}  // namespace softsplice
