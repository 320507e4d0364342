// The towers on each device. A pass takes those of a device that is free.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "encoder_svc/models.h"
#include "kernels/backend.h"

namespace softsplice {

// Thread-safe. Encode() waits while all devices have a pass: it is for as many threads as there are
// devices.
class ModelPool {
 public:
  // Loads the towers on each of `backends`, at least one. Errors as Models::Load. `file` outlives
  // the pool.
  static absl::StatusOr<std::unique_ptr<ModelPool>> Load(
      const gguf::File& file, Towers towers, std::vector<std::unique_ptr<Backend>> backends,
      const EncoderOptions& options);

  int size() const { return static_cast<int>(all_.size()); }
  // What is the same on all devices.
  const Vit* image() const { return all_.front().models.image(); }
  const Conformer* audio() const { return all_.front().models.audio(); }
  // All backends' names, in one.
  EncoderInfo Info(const Digest& fingerprint) const;

  // As Models::Encode.
  template <class Medium>
  absl::StatusOr<std::vector<float>> Encode(const Medium& medium) {
    const Lease lease(*this);
    return lease.models.Encode(medium);
  }

  // As Models::Reserve and Try, on each device.
  absl::Status Reserve();
  absl::Status Try(Backlog& backlog);

 private:
  struct OnDevice {
    std::unique_ptr<Backend> backend;
    Models models;
  };
  struct Lease {
    explicit Lease(ModelPool& its_pool) : pool(its_pool), models(*pool.Take()) {}
    ~Lease() { pool.GiveBack(&models); }
    ModelPool& pool;
    Models& models;
  };

  explicit ModelPool(std::vector<OnDevice> all);
  Models* Take();
  void GiveBack(Models* models);

  std::vector<OnDevice> all_;
  std::mutex mutex_;
  std::condition_variable one_is_free_;
  std::vector<Models*> free_;
};

}  // namespace softsplice
