#include "decoder_svc/server/known_media.h"

#include "absl/strings/str_cat.h"
#include "common/hash/sha256.h"

namespace softsplice {

std::string KnownMedia::KeyOf(absl::string_view scope, absl::string_view encoder_fingerprint,
                              v1::Modality modality, const v1::Media& media) {
  Sha256 hash;
  for (const absl::string_view part :
       {scope, encoder_fingerprint, absl::string_view(media.mime_type())}) {
    hash.Update(absl::StrCat(part.size(), ":", part));
  }
  hash.Update(absl::StrCat(static_cast<int>(modality), ":", media.max_soft_tokens(), ":",
                           media.max_frames(), ":", media.without_sound(), ":"));
  hash.Update(media.data());
  const Sha256Digest digest = hash.Finish();
  return std::string(digest.begin(), digest.end());
}

std::optional<EncodedMedium> KnownMedia::Find(absl::string_view key) {
  const std::lock_guard lock(mutex_);
  const Known* const known = media_.Find(key);
  if (known == nullptr) return std::nullopt;
  return EncodedMedium{.header = known->header, .runs = known->runs};
}

void KnownMedia::Put(const std::string& key, const EncodedMedium& medium) {
  // With what a table that has just grown has of places for it, and the heads of blocks on the
  // heap: its own, and three for each run.
  constexpr uint64_t kPlaces = 3 * (sizeof(Known) + sizeof(std::string));
  const uint64_t blocks = 8 + 3 * medium.runs.size();
  Known known{.header = medium.header};
  uint64_t bytes = key.size() + medium.header.SpaceUsedLong() + kPlaces + 16 * blocks;
  for (const RowRun& run : medium.runs) {
    known.runs.push_back({.rows = run.rows, .name = run.name});
    bytes += sizeof(RowRun) + run.name.size() + 16;
  }
  if (bytes > kMaxBytes / 2) return;
  const std::lock_guard lock(mutex_);
  media_.Put(key, std::move(known), bytes);
}

}  // namespace softsplice
