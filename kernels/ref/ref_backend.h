// The oracle: every op of kernels/backend.h as plain float32 loops, straight from its formula. Slow
// by design; the other backends are tested against it.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace softsplice {

std::unique_ptr<Backend> MakeRefBackend();

}  // namespace softsplice
