// `softsplice up`: both services in the foreground, until Ctrl-C.
#pragma once

#include <CLI/CLI.hpp>

#include "deploy/cli/signals.h"

namespace softsplice {

// Adds the command to `app`; when it is called it sets `exit_code`.
void AddUp(CLI::App& app, Interrupts& interrupts, int& exit_code);

}  // namespace softsplice
