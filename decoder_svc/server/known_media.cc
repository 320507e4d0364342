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
  hash.Update(absl::StrCat(static_cast<int>(modality), ":", media.max_soft_tokens(), ":"));
  hash.Update(media.data());
  const Sha256Digest digest = hash.Finish();
  return std::string(digest.begin(), digest.end());
}

std::optional<EncodedMedium> KnownMedia::Find(absl::string_view key) {
  const std::lock_guard lock(mutex_);
  const Known* const known = media_.Find(key);
  if (known == nullptr) return std::nullopt;
  return EncodedMedium{.header = known->header, .name = known->name};
}

void KnownMedia::Put(const std::string& key, const EncodedMedium& medium) {
  const std::lock_guard lock(mutex_);
  media_.Put(key, {medium.header, medium.name});
}

}  // namespace softsplice
