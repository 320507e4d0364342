// What tells soft tokens of one encoder from those of another.
#pragma once

#include "absl/strings/string_view.h"
#include "common/gguf/file.h"
#include "common/hash/sha256.h"

namespace softsplice {

// SHA-256 over the names, types, shapes and bytes of all tensors of `file`, in order of name, and
// `version`: a string that changes whenever the same weights would give other rows. Reads the whole
// file, and lets go of the pages behind it. Thread-safe.
Sha256Digest Fingerprint(const gguf::File& file, absl::string_view version);

// SHA-256 over all that decides the rows: the medium's bytes, the options that change what becomes
// of them ("image:280"), the encoder.
Sha256Digest ContentDigest(absl::string_view bytes, absl::string_view options,
                           const Sha256Digest& fingerprint);

}  // namespace softsplice
