// A certificate that only its maker trusts.
#pragma once

#include <string>

namespace softsplice {

struct KeyPair {
  std::string certificate, key;  // PEM
};

// A new P-256 key, and a certificate of it under `name` that is its own authority, for ten years.
// It vouches for no other certificate.
KeyPair MakeSelfSigned(const std::string& name);

}  // namespace softsplice
