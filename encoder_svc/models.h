// The towers of an mmproj file, and whether they work.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/config/mmproj.h"
#include "common/gguf/file.h"
#include "encoder_svc/audio/mel.h"
#include "encoder_svc/backlog.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/model/conformer.h"
#include "encoder_svc/model/vit.h"
#include "kernels/backend.h"
#include "kernels/footprint.h"

namespace softsplice {

// Pictures of one pass, at most, and together of no more rows than the largest picture: so they
// take no more memory.
inline constexpr int kMostTogether = 4;

// One calling thread, but for what is const.
class Models {
 public:
  // Loads those that the file has; one at least. FAILED_PRECONDITION: not such a file.
  // RESOURCE_EXHAUSTED: memory is short. `file` and `backend` outlive the models.
  static absl::StatusOr<Models> Load(const gguf::File& file, Towers towers, Backend& backend,
                                     const EncoderOptions& options);

  // Null: the file has no such tower.
  const Vit* image() const { return image_.get(); }
  const Conformer* audio() const { return audio_.get(); }
  // Without the backend.
  EncoderInfo Info(const Digest& fingerprint) const;

  // Of these towers, whose passes are of the largest picture and sound that there may be, and of as
  // many pictures.
  // `counter` is the backend that they were loaded over.
  absl::StatusOr<Footprint> Measure(const CountingBackend& counter);

  // Takes the memory of those passes now. RESOURCE_EXHAUSTED: memory is short.
  absl::Status Reserve();

  // The soft tokens of one medium, all finite. RESOURCE_EXHAUSTED: memory is short. INTERNAL: the
  // tower failed, or gave values that are not finite.
  using Rows = absl::StatusOr<std::vector<float>>;
  // Of each picture of one pass: its bits are those that it gets alone.
  std::vector<Rows> Encode(absl::Span<const Patches> pictures);
  Rows Encode(const MelFrames& sound);

  // A pass of each tower, of a small picture and a short sound: what a broken file or device can't
  // do is told before anybody asks. How long they take goes to `backlog`.
  absl::Status Try(Backlog& backlog);

 private:
  std::unique_ptr<Vit> image_;
  std::unique_ptr<Conformer> audio_;
};

}  // namespace softsplice
