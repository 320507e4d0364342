// See device_watch.h.
#include "kernels/device_watch.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace softsplice {
namespace {

constexpr std::chrono::seconds kEvery{1};

}  // namespace

struct DeviceWatch::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<DeviceUse> uses;
  bool stopping = false;
  bool over = false;  // the thread looks no more
};

DeviceWatch::DeviceWatch(std::vector<int> devices, const Footprint& footprint)
    : state_(std::make_shared<State>()) {
  state_->uses = UseOf(devices, footprint);
  state_->over = devices.empty();
  if (devices.empty()) return;
  std::thread([state = state_, devices = std::move(devices), footprint] {
    std::unique_lock lock(state->mutex);
    while (!state->changed.wait_for(lock, kEvery, [&] { return state->stopping; })) {
      lock.unlock();
      std::vector<DeviceUse> uses = UseOf(devices, footprint);
      lock.lock();
      state->uses = std::move(uses);
    }
    state->over = true;
    state->changed.notify_all();
  }).detach();
}

DeviceWatch::~DeviceWatch() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
  state_->changed.wait_for(lock, kEvery, [&] { return state_->over; });
}

std::vector<DeviceUse> DeviceWatch::last() const {
  const std::lock_guard lock(state_->mutex);
  return state_->uses;
}

}  // namespace softsplice
