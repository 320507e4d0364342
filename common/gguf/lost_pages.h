// What happens when a mapped file is cut while it is in use: pages of it are gone, and reading one
// raises SIGBUS.
#pragma once

namespace softsplice::gguf {

// From now on such a read ends the process with one sentence on stderr and `exit_code`, instead of
// a signal that looks like a bug of ours. `program` is a literal: it stands before the sentence.
void EndOnLostPages(const char* program, int exit_code);

}  // namespace softsplice::gguf
