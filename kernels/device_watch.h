// What is free of devices' memory, for those who must not wait for a driver: calls into one take as
// long as it likes, with a device that hangs for ever.
#pragma once

#include <memory>
#include <vector>

#include "kernels/footprint.h"

namespace softsplice {

// Looks every second on a thread of its own, if there is a device to look at.
class DeviceWatch {
 public:
  // Looks once before it returns. `footprint`: what a model takes of each.
  DeviceWatch(std::vector<int> devices, const Footprint& footprint);
  // Does not wait for a driver that does not answer, either.
  ~DeviceWatch();

  std::vector<DeviceUse> last() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace softsplice
