// The towers on each device. A pass takes those of a device that is free; one that is lost has no
// more passes while there is another.
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
  template <class Media>
  auto Encode(const Media& media) {
    const Lease lease(*this);
    return lease.one.models.Encode(media);
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
    explicit Lease(ModelPool& its_pool) : pool(its_pool), one(*pool.Take()) {}
    ~Lease() { pool.GiveBack(&one); }
    ModelPool& pool;
    OnDevice& one;
  };

  explicit ModelPool(std::vector<OnDevice> all);
  OnDevice* Take();
  void GiveBack(OnDevice* one);

  std::vector<OnDevice> all_;
  std::mutex mutex_;
  std::condition_variable one_is_free_;
  std::vector<OnDevice*> free_;
  size_t in_use_;  // devices, but for those that were lost
};

}  // namespace softsplice
