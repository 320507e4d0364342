#include "decoder_svc/kv/content.h"

#include <string>

namespace softsplice {

uint64_t ContentNames::NumberOf(absl::string_view name) {
  const std::lock_guard lock(mutex_);
  if (name.empty()) return next_++;
  const uint64_t* const known = numbers_.Find(name);
  return known != nullptr ? *known : numbers_.Put(std::string(name), next_++);
}

}  // namespace softsplice
