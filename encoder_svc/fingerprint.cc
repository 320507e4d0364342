// See fingerprint.h.
#include "encoder_svc/fingerprint.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace softsplice {

Sha256Digest Fingerprint(const gguf::File& file, absl::string_view version) {
  std::vector<const gguf::Tensor*> tensors;
  for (const gguf::Tensor& tensor : file.tensors()) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(),
            [](const gguf::Tensor* a, const gguf::Tensor* b) { return a->name < b->name; });
  Sha256 hash;
  // Lengths stand in front of what varies in length, so that no two inputs read alike.
  hash.Update(absl::StrCat(version.size(), ":", version));
  for (const gguf::Tensor* tensor : tensors) {
    hash.Update(absl::StrCat(tensor->name.size(), ":", tensor->name, ":",
                             static_cast<uint32_t>(tensor->type), ":",
                             absl::StrJoin(tensor->dims, "x"), ":", tensor->bytes, ":"));
    hash.Update(tensor->data, tensor->bytes);
    file.DropPages(*tensor);
  }
  return hash.Finish();
}

Sha256Digest ContentDigest(absl::string_view bytes, absl::string_view options,
                           const Sha256Digest& fingerprint) {
  Sha256 hash;
  hash.Update(fingerprint.data(), fingerprint.size());
  hash.Update(absl::StrCat(options, ":"));
  hash.Update(bytes);
  return hash.Finish();
}

}  // namespace softsplice
