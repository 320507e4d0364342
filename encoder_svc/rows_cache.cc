#include "encoder_svc/rows_cache.h"

#include <algorithm>
#include <utility>

namespace softsplice {

bool RowsCache::InUse(const Entry& entry) {
  const auto held = [](const Values& run) { return run.use_count() > 1; };
  return entry.rows.use_count() > 1 ||
         std::any_of(entry.rows->runs.begin(), entry.rows->runs.end(), held);
}

bool RowsCache::Keep(const Digest& digest, std::shared_ptr<MediumRows> rows, uint64_t bytes) {
  if (!Takes(bytes)) return false;
  const uint64_t needed = bytes + kEntryBytes;
  std::vector<Place> leaving;
  uint64_t free = capacity_ - bytes_;
  for (Place place = entries_.end(); free < needed && place != entries_.begin();) {
    if (InUse(*--place)) continue;
    leaving.push_back(place);
    free += place->bytes;
  }
  if (free < needed) return false;
  for (const Place place : leaving) Erase(place);
  entries_.push_front({digest, std::move(rows), needed});
  places_[digest] = entries_.begin();
  bytes_ += needed;
  return true;
}

std::shared_ptr<MediumRows> RowsCache::Find(const Digest& digest) {
  const auto found = places_.find(digest);
  if (found == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->rows;
}

void RowsCache::Drop(const Digest& digest) {
  if (const auto found = places_.find(digest); found != places_.end()) Erase(found->second);
}

void RowsCache::Erase(Place place) {
  bytes_ -= place->bytes;
  places_.erase(place->digest);
  entries_.erase(place);
}

}  // namespace softsplice
