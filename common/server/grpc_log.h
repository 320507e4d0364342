// gRPC's own log messages as lines of ours.
#pragma once

#include "common/log/log.h"

namespace softsplice {

// From now on, for the whole process. `logger` must live until the process ends or until the next
// call; null drops the messages.
void SetGrpcLogger(const Logger* logger);

}  // namespace softsplice
