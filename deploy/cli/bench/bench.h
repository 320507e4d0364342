// `softsplice bench`: load on a decoder, and what it makes of it.
#pragma once

#include <CLI/CLI.hpp>

#include "deploy/cli/signals.h"

namespace softsplice {

// Adds the command to `app`; when it is called it sets `exit_code`.
void AddBench(CLI::App& app, Interrupts& interrupts, int& exit_code);

}  // namespace softsplice
