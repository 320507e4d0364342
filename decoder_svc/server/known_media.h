// What is known of media that were encoded before: enough to find their keys and values in the
// engine's cache without asking an encoder for their rows.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "decoder_svc/encoder_pool/collector.h"
#include "decoder_svc/kv/recent_map.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// Thread-safe; the least recently used are forgotten.
class KnownMedia {
 public:
  static constexpr uint64_t kMaxBytes = 64 << 20;

  // Of all that the rows of a medium depend on, and of whom it is known to: requests of another
  // scope find nothing of it. Reads all of `media`.
  static std::string KeyOf(absl::string_view scope, absl::string_view encoder_fingerprint,
                           v1::Modality modality, const v1::Media& media);

  // Without values.
  std::optional<EncodedMedium> Find(absl::string_view key);
  void Put(const std::string& key, const EncodedMedium& medium);

 private:
  struct Known {
    v1::SoftTokensHeader header;
    std::vector<RowRun> runs;
  };
  std::mutex mutex_;
  RecentMap<Known> media_{kMaxBytes};
};

}  // namespace softsplice
