// Soft tokens as a client may send them.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "common/hash/crc32c.h"
#include "decoder_svc/encoder_pool/soft_tokens.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  softsplice::v1::SoftTokens soft_tokens;
  if (!soft_tokens.ParseFromArray(data, static_cast<int>(size))) return 0;
  softsplice::SoftTokensRules rules = {.dim = 3, .fingerprint = "f"};
  // Chance finds no checksum: every other input gets the right one.
  if (size % 2 == 0) soft_tokens.set_crc32c(softsplice::Crc32c(soft_tokens.data()));
  rules.allow_foreign = size % 4 < 2;
  const auto runs = softsplice::ReadSoftTokens(soft_tokens, rules);
  if (!runs.ok()) return 0;
  size_t rows = 0;
  for (const softsplice::RowRun& run : *runs) {
    if (run.values->size() != static_cast<size_t>(run.rows) * 3) abort();
    for (const float value : *run.values) {
      if (!std::isfinite(value)) abort();
    }
    rows += static_cast<size_t>(run.rows);
  }
  if (rows != soft_tokens.header().rows()) abort();
  return 0;
}
